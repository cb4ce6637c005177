/** Why one answer can be trusted: its receipt, and its pod's verification made again now. */
import { useEffect, useState } from 'preact/hooks';
import { asFailure, type Failure, type Receipt, send, type Status, type Verified } from '../api';
import { useLoaded } from '../load';
import { Dialog } from '../parts/dialog';
import { Fault, Waiting } from '../parts/notice';
import { link } from '../route';
import type { Proof } from './conversation';
import { ReceiptFacts } from './receipt';
import { StepList } from './steplist';
import { stepsOf } from './steps';

export function Shield({
  proof,
  status,
  onClose,
}: {
  proof: Proof;
  status: Status | null;
  onClose: () => void;
}) {
  const receipt = useLoaded<Receipt>(`receipts/${proof.receipt}`);
  const [verified, setVerified] = useState<Verified | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  useEffect(() => {
    send<Verified>('verify', { pod: proof.pod }).then(setVerified, (error: unknown) =>
      setFailure(asFailure(error)),
    );
  }, [proof.pod]);
  const sameKey =
    verified &&
    receipt.value &&
    verified.audit.dossier.record.key?.identity === receipt.value.identity;
  return (
    <Dialog title="This answer" onClose={onClose} wide>
      {status?.trust.root === 'development' && (
        <p class="alarm amber inline">
          <span>
            <strong>Simulated TEE.</strong> The checks below are the real ones, but anybody can make
            such quotes.
          </span>
        </p>
      )}
      <h3>Receipt</h3>
      {receipt.failure && <Fault failure={receipt.failure} retry={() => void receipt.again()} />}
      {receipt.value ? (
        <ReceiptFacts receipt={receipt.value} status={status} />
      ) : (
        !receipt.failure && <Waiting what="Reading the receipt" />
      )}
      <h3>The pod, verified again now</h3>
      {failure && <Fault failure={failure} />}
      {verified ? (
        <>
          <StepList steps={stepsOf(verified.audit)} />
          {sameKey !== null && (
            <p class="quiet">
              {sameKey
                ? 'The key that signed the receipt is the key that these checks vouch for.'
                : 'The pod has started again since: its key is another one now. The receipt keeps the evidence of its own.'}
            </p>
          )}
        </>
      ) : (
        !failure && <Waiting what="Asking the chain and the pod" />
      )}
      <p class="links">
        <a href={link('verification', proof.pod)} onClick={onClose}>
          All checks with their raw values
        </a>
        <a href={link('receipts', proof.receipt)} onClick={onClose}>
          The receipt among the others
        </a>
      </p>
    </Dialog>
  );
}
