import { useCallback, useEffect, useState } from 'preact/hooks';
import { asFailure, type Failure, type Pod, send, type Status, type Verified } from '../api';
import { useLoaded } from '../load';
import { Command } from '../parts/copy';
import { Icon } from '../parts/icon';
import { Empty, Fault, Waiting } from '../parts/notice';
import { link } from '../route';
import { download, short, when } from '../show';
import { standing } from '../standing';
import { StepList } from './steplist';
import { pendingSteps, stepsOf } from './steps';

export function VerificationView({ pod, status }: { pod: string | null; status: Status | null }) {
  const pods = useLoaded<{ pods: Pod[] }>('pods');
  const list = pods.value?.pods ?? [];
  const chosen =
    list.find((one) => one.pod === pod) ?? list.find((one) => one.key && !one.retired) ?? list[0];
  return (
    <section class="page">
      <header class="page-head">
        <div>
          <h1>Verification</h1>
          <p class="lead">
            Everything that is checked before a prompt leaves this machine. No prompt is sent for
            it.
          </p>
        </div>
      </header>
      {pods.failure && <Fault failure={pods.failure} retry={() => void pods.again()} />}
      {pods.busy && !pods.value && <Waiting what="Reading the registry" />}
      {pods.value && !chosen && (
        <Empty title="No pod is registered here yet.">
          <p>There is nothing to verify until one is.</p>
        </Empty>
      )}
      {chosen && (
        <>
          <label class="field narrow">
            Pod
            <select
              value={chosen.pod}
              onChange={(event) =>
                (location.hash = link('verification', event.currentTarget.value))
              }
            >
              {list.map((one) => (
                <option key={one.pod} value={one.pod}>
                  {short(one.pod)} ·{' '}
                  {one.offers.map((offer) => offer.model).join(', ') || 'no model'}
                </option>
              ))}
            </select>
          </label>
          <Judged key={chosen.pod} pod={chosen.pod} status={status} />
        </>
      )}
    </section>
  );
}

function Judged({ pod, status }: { pod: string; status: Status | null }) {
  const [verified, setVerified] = useState<Verified | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const [busy, setBusy] = useState(true);
  const verify = useCallback(async () => {
    setBusy(true);
    setFailure(null);
    try {
      setVerified(await send<Verified>('verify', { pod }));
    } catch (error) {
      setVerified(null);
      setFailure(asFailure(error));
    }
    setBusy(false);
  }, [pod]);
  useEffect(() => void verify(), [verify]);
  const steps = busy || !verified ? pendingSteps() : stepsOf(verified.audit);
  return (
    <>
      <div aria-live="polite">
        {failure ? (
          <Fault failure={failure} retry={() => void verify()} />
        ) : (
          <Verdict verified={busy ? null : verified} status={status} />
        )}
      </div>
      {!failure && <StepList steps={steps} details />}
      <div class="actions">
        <button type="button" onClick={() => void verify()} disabled={busy}>
          <Icon name="again" size={16} /> Verify again
        </button>
        <button
          type="button"
          class="second"
          disabled={!verified || busy}
          onClick={() =>
            verified &&
            download('pod.json', 'application/json', JSON.stringify(verified.audit, null, 2))
          }
        >
          <Icon name="download" size={16} /> Save the audit file
        </button>
      </div>
      <p class="quiet">The same verdict on the command line, from chain and pod:</p>
      <Command text={`phallama verify ${pod}`} />
    </>
  );
}

const ACCEPTED = {
  intel: 'Accepted',
  development: 'Accepted, on a simulated TEE',
  unknown: 'Accepted, under a root that is not known yet',
};

function Verdict({ verified, status }: { verified: Verified | null; status: Status | null }) {
  if (!verified) {
    return (
      <div class="verdict pending">
        <span class="spinner" aria-hidden="true" />
        <div>
          <p class="verdict-title">Asking the chain and the pod</p>
        </div>
      </div>
    );
  }
  const { verdict } = verified.audit;
  const { tone, icon } = standing(status);
  if (!verdict.accepted) {
    return (
      <div class="verdict bad">
        <Icon name="cross" size={28} />
        <div>
          <p class="verdict-title">Refused: {verdict.refused_by}</p>
          <p>No prompt is sent to this pod.</p>
        </div>
      </div>
    );
  }
  return (
    <div class={`verdict ${tone}`}>
      <Icon name={icon} size={28} />
      <div>
        <p class="verdict-title">{ACCEPTED[status?.trust.root ?? 'unknown']}</p>
        <p>
          Approved as “{verdict.approved_as}”. {when(verdict.at_unix_s)}, in {verified.took_ms} ms.
        </p>
      </div>
    </div>
  );
}
