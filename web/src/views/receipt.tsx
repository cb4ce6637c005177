import { useState } from 'preact/hooks';
import {
  asFailure,
  type Failure,
  type Receipt,
  type ReceiptCheck,
  send,
  type Status,
} from '../api';
import { Command, Value } from '../parts/copy';
import { Icon } from '../parts/icon';
import { Fault } from '../parts/notice';
import { download, money, whenText } from '../show';

/** What the enclave signed, in short, with the state of its signature. */
export function ReceiptFacts({ receipt, status }: { receipt: Receipt; status: Status | null }) {
  const token = status?.token;
  const valid = receipt.signature === 'valid';
  return (
    <>
      <p class={`verdict small ${valid ? 'good' : 'bad'}`}>
        <Icon name={valid ? 'check' : 'cross'} />
        <span>{valid ? 'Signed by the enclave, and as agreed' : receipt.signature}</span>
      </p>
      <dl class="facts-list">
        <Row name="Model" text={receipt.model} />
        <Row name="Finished" text={whenText(receipt.finished)} />
        {receipt.prompt_tokens !== undefined && (
          <Row
            name="Tokens"
            text={`${receipt.prompt_tokens} in, ${receipt.completion_tokens} out`}
          />
        )}
        {token && receipt.cost && <Row name="Cost" text={money(receipt.cost, token)} />}
        {token && (
          <Row name="Most that was allowed, in total" text={money(receipt.voucher_cap, token)} />
        )}
        <Row name="Build" text={receipt.build} />
      </dl>
    </>
  );
}

function Row({ name, text }: { name: string; text: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{text}</dd>
    </div>
  );
}

/** Everything about one receipt, with its check made again on demand. */
export function ReceiptDetail({ receipt, status }: { receipt: Receipt; status: Status | null }) {
  const [checked, setChecked] = useState<ReceiptCheck | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const check = () => {
    setFailure(null);
    send<ReceiptCheck>('receipts/check', { stored: receipt.stored }).then(
      setChecked,
      (error: unknown) => setFailure(asFailure(error)),
    );
  };
  const raw: [string, string | undefined][] = [
    ['request', receipt.request],
    ['receipt hash', receipt.receipt_hash],
    ['pod', receipt.pod],
    ['identity key', receipt.identity],
    ['measurement', receipt.measurement],
    ['evidence digest', receipt.evidence_hash],
    ['escrow', receipt.escrow],
    ['signed receipt', receipt.receipt_hex],
  ];
  return (
    <>
      <ReceiptFacts receipt={receipt} status={status} />
      <h3>Raw values</h3>
      <dl class="values">
        {raw.map(([label, text]) => text && <Value key={label} label={label} text={text} />)}
      </dl>
      <h3>How to reproduce</h3>
      <Command text={`phallama --json receipts show ${receipt.request} > receipt.json`} />
      <Command text="phallama audit receipt receipt.json" />
      <div class="actions">
        <button type="button" onClick={check}>
          <Icon name="verification" size={16} /> Check again
        </button>
        <button
          type="button"
          class="second"
          onClick={() =>
            download('receipt.json', 'application/json', JSON.stringify(receipt, null, 2))
          }
        >
          <Icon name="download" size={16} /> Save
        </button>
      </div>
      <div class="live" aria-live="polite">
        {failure && <Fault failure={failure} />}
        {checked && (
          <p class="quiet">
            {checked.valid === 1
              ? 'Checked just now: valid.'
              : `Checked just now: ${checked.failed[0]?.reason}`}
          </p>
        )}
      </div>
    </>
  );
}
