/** What moves money or changes limits: says what will happen, takes the password, says what did. */
import { useId, useState } from 'preact/hooks';
import {
  asFailure,
  type Failure,
  type Limits,
  send,
  type Sent,
  type Token,
  type Units,
} from '../api';
import { Command, Copy } from '../parts/copy';
import { Dialog } from '../parts/dialog';
import { Icon } from '../parts/icon';
import { Fault } from '../parts/notice';
import { amount, download, short } from '../show';

export type Move =
  | { kind: 'deposit' }
  | { kind: 'withdraw'; free: Units }
  | { kind: 'exit'; pod: string; step: 'start' | 'finish' }
  | { kind: 'close'; pod: string }
  | { kind: 'limits'; limits: Limits };

interface Words {
  title: string;
  says: string;
  button: string;
}

function words(move: Move, canSend: boolean): Words {
  const signs = canSend
    ? ''
    : ' The owner’s key is not on this machine, so it is signed into a file for anybody to send.';
  switch (move.kind) {
    case 'deposit':
      return {
        title: 'Deposit',
        says: 'From the owner’s wallet into the escrow, for this user key. From there it goes to pods that your key pays, or back to the owner.',
        button: 'Deposit',
      };
    case 'withdraw':
      return {
        title: 'Withdraw',
        says: `From the escrow to the owner’s wallet, and nowhere else.${signs}`,
        button: 'Withdraw',
      };
    case 'close':
      return {
        title: 'Close with a pod',
        says: `The enclave of pod ${short(move.pod)} signs what it has earned and takes no further request in this channel. The rest is free at once.${signs}`,
        button: 'Close',
      };
    case 'exit':
      return move.step === 'start'
        ? {
            title: 'Start the exit',
            says: `In 48 hours, what pod ${short(move.pod)} has not claimed becomes free. Nobody’s consent is needed. Until then it can be claimed, and no request goes to the pod.${signs}`,
            button: 'Start the exit',
          }
        : {
            title: 'Finish the exit',
            says: `What pod ${short(move.pod)} has not claimed becomes free.`,
            button: 'Finish the exit',
          };
    case 'limits':
      return {
        title: 'Limits',
        says: 'In force from the next request on, for every app that uses this server. Empty is no limit.',
        button: 'Change',
      };
  }
}

interface Props {
  move: Move;
  token: Token;
  canSend: boolean;
  onClose: () => void;
  onMoved: () => void;
}

export function MoveDialog({ move, token, canSend, onClose, onMoved }: Props) {
  const { title, says, button } = words(move, canSend);
  const [fields, setFields] = useState<Record<string, string>>(() => initial(move, token));
  const [password, setPassword] = useState('');
  const [state, setState] = useState<{
    busy: boolean;
    failure: Failure | null;
    done: Sent | 'limits' | null;
  }>({ busy: false, failure: null, done: null });
  const submit = async (event: Event) => {
    event.preventDefault();
    setState({ busy: true, failure: null, done: null });
    try {
      const { path, body } = request(move, fields);
      const answered = await send<Sent>(path, { ...body, password });
      setState({ busy: false, failure: null, done: move.kind === 'limits' ? 'limits' : answered });
      onMoved();
    } catch (error) {
      setState({ busy: false, failure: asFailure(error), done: null });
    }
    setPassword('');
  };
  if (state.done) {
    return (
      <Dialog title={title} onClose={onClose}>
        <Done done={state.done} />
        <div class="actions">
          <button type="button" onClick={onClose}>
            Done
          </button>
        </div>
      </Dialog>
    );
  }
  const set = (name: string, value: string) => setFields({ ...fields, [name]: value });
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{says}</p>
      <form onSubmit={(event) => void submit(event)}>
        <Fields move={move} token={token} fields={fields} onField={set} fault={state.failure} />
        <label class="field">
          Password of the keystore
          <input
            type="password"
            required
            autocomplete="current-password"
            value={password}
            onInput={(event) => setPassword(event.currentTarget.value)}
            aria-invalid={state.failure?.field === 'password'}
          />
        </label>
        {state.failure && <Fault failure={state.failure} />}
        <div class="actions">
          <button type="submit" disabled={state.busy}>
            {state.busy ? <span class="spinner" aria-hidden="true" /> : null}{' '}
            {state.busy ? 'Waiting for the chain' : button}
          </button>
          <button type="button" class="second" onClick={onClose}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function initial(move: Move, token: Token): Record<string, string> {
  if (move.kind !== 'limits') return { amount: '' };
  const text = (limit: Units | null) =>
    limit === null ? '' : amount(limit, token.decimals).replace(/\u202f/g, '');
  const { per_request, per_day, per_pod } = move.limits;
  return { per_request: text(per_request), per_day: text(per_day), per_pod: text(per_pod) };
}

function request(move: Move, fields: Record<string, string>): { path: string; body: object } {
  switch (move.kind) {
    case 'deposit':
      return { path: 'deposit', body: { amount: fields['amount'] } };
    case 'withdraw':
      return { path: 'withdraw', body: fields['amount'] ? { amount: fields['amount'] } : {} };
    case 'exit':
      return { path: 'exit', body: { pod: move.pod, step: move.step } };
    case 'close':
      return { path: 'close', body: { pod: move.pod } };
    case 'limits':
      return {
        path: 'limits',
        body: Object.fromEntries(
          Object.entries(fields).map(([name, text]) => [name, text.trim() || 'none']),
        ),
      };
  }
}

const LIMIT_NAMES: [string, string][] = [
  ['per_request', 'Per request'],
  ['per_day', 'Per day (UTC)'],
  ['per_pod', 'Per pod'],
];

function Fields(props: {
  move: Move;
  token: Token;
  fields: Record<string, string>;
  onField: (name: string, value: string) => void;
  fault: Failure | null;
}) {
  const { move, token, fields, onField, fault } = props;
  const id = useId();
  const rows: [string, string][] =
    move.kind === 'limits'
      ? LIMIT_NAMES
      : move.kind === 'deposit' || move.kind === 'withdraw'
        ? [['amount', 'Amount']]
        : [];
  return (
    <>
      {rows.map(([name, label]) => (
        <div class="field" key={name}>
          <label for={`${id}-${name}`}>
            {label}, in {token.symbol}
          </label>
          <input
            id={`${id}-${name}`}
            type="text"
            inputMode="decimal"
            autocomplete="off"
            required={move.kind === 'deposit'}
            value={fields[name] ?? ''}
            placeholder={
              move.kind === 'withdraw'
                ? `everything: ${amount(move.free, token.decimals)}`
                : move.kind === 'limits'
                  ? 'no limit'
                  : '5'
            }
            aria-invalid={fault?.field === name}
            onInput={(event) => onField(name, event.currentTarget.value)}
          />
        </div>
      ))}
    </>
  );
}

function Done({ done }: { done: Sent | 'limits' }) {
  if (done === 'limits')
    return (
      <p class="verdict small good">
        <Icon name="check" /> <span>The limits are in force.</span>
      </p>
    );
  if (!done.sent) {
    return (
      <>
        <p>Nothing was sent. Whoever sends this file pays the gas and gains nothing else.</p>
        <button
          type="button"
          onClick={() => download('signed.json', 'application/json', done.signed)}
        >
          <Icon name="download" size={16} /> Save the signed file
        </button>
        <Command text="phallama relay signed.json" />
      </>
    );
  }
  return (
    <>
      <p class="verdict small good" role="status">
        <Icon name="check" /> <span>Done, in the chain’s newest block.</span>
      </p>
      <dl class="values">
        {done.transactions.map((hash) => (
          <div class="value" key={hash}>
            <dt>transaction</dt>
            <dd>
              <code title={hash}>{hash}</code>
              <Copy text={hash} what="the transaction’s hash" />
            </dd>
          </div>
        ))}
        <div class="value">
          <dt>gas</dt>
          <dd>{done.gas_used.toLocaleString()}</dd>
        </div>
      </dl>
    </>
  );
}
