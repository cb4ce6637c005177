import { useCallback, useEffect, useState } from 'preact/hooks';
import {
  asFailure,
  type Failure,
  type Pod,
  send,
  type Status,
  type Token,
  type Verified,
} from '../api';
import { useLoaded } from '../load';
import { Icon } from '../parts/icon';
import { Empty, Fault, Waiting } from '../parts/notice';
import { link } from '../route';
import { ago, amount, duration, short } from '../show';

/** More are verified only when somebody asks for it. */
const VERIFIED_BY_ITSELF = 8;

/** Longest life of a key in the registry (`KEY_LIFE_MAX`), from its attestation on. */
const KEY_LIFE_MAX_S = 604_800;
const age = (leftS: number) =>
  `attested ${duration(Math.max(0, KEY_LIFE_MAX_S - leftS))} ago at most`;

type Seen = { verified: Verified } | { failure: Failure } | { busy: true };

export function PodsView({ status }: { status: Status | null }) {
  const pods = useLoaded<{ pods: Pod[] }>('pods');
  const [seen, setSeen] = useState<Record<string, Seen>>({});
  const verify = useCallback(async (pod: string) => {
    setSeen((old) => ({ ...old, [pod]: { busy: true } }));
    let result: Seen;
    try {
      result = { verified: await send<Verified>('verify', { pod }) };
    } catch (error) {
      result = { failure: asFailure(error) };
    }
    setSeen((old) => ({ ...old, [pod]: result }));
  }, []);
  const list = pods.value?.pods ?? [];
  useEffect(() => {
    for (const pod of list.filter((one) => one.key && !one.retired).slice(0, VERIFIED_BY_ITSELF))
      void verify(pod.pod);
  }, [pods.value]);
  return (
    <section class="page">
      <header class="page-head">
        <div>
          <h1>Pods</h1>
          <p class="lead">
            Who answers, for how much, and what the chain knows about their hardware.
          </p>
        </div>
        <button type="button" class="second" onClick={() => void pods.again()} disabled={pods.busy}>
          <Icon name="again" size={16} /> Read again
        </button>
      </header>
      {pods.failure && <Fault failure={pods.failure} retry={() => void pods.again()} />}
      {pods.busy && !pods.value && <Waiting what="Reading the registry" />}
      {pods.value && list.length === 0 && (
        <Empty title="No pod is registered here yet.">
          <p>
            An operator registers one with <code>phallama pod up</code>.
          </p>
        </Empty>
      )}
      <ul class="cards">
        {list.map((pod) => (
          <Card
            key={pod.pod}
            pod={pod}
            seen={seen[pod.pod]}
            status={status}
            onVerify={() => void verify(pod.pod)}
          />
        ))}
      </ul>
    </section>
  );
}

function Card({
  pod,
  seen,
  status,
  onVerify,
}: {
  pod: Pod;
  seen: Seen | undefined;
  status: Status | null;
  onVerify: () => void;
}) {
  const root = status?.trust.root;
  const leftS = pod.key ? pod.key.expiry_unix_s - Date.now() / 1000 : 0;
  return (
    <li class="card pod">
      <header>
        <h2>
          <code title={pod.pod}>{short(pod.pod)}</code>
        </h2>
        <div class="badges">
          {pod.key && (
            <span
              class={`badge ${root === 'intel' ? 'plain' : 'amber'}`}
            >{`${pod.key.tee.toUpperCase()}${root === 'development' ? ', simulated' : ''}`}</span>
          )}
          {pod.key && (
            <span class={`badge ${pod.key.tcb_status === 'UpToDate' ? 'good' : 'amber'}`}>
              {pod.key.tcb_status}
            </span>
          )}
          {pod.retired && <span class="badge bad">retired</span>}
          {!pod.key && <span class="badge bad">no key</span>}
        </div>
      </header>
      {pod.offers.map((offer) => (
        <Prices key={offer.model} offer={offer} token={status?.token ?? null} />
      ))}
      <dl class="facts-list">
        <div>
          <dt>Key</dt>
          <dd>
            {!pod.key
              ? 'none attested'
              : leftS > 0
                ? `${age(leftS)}, good for ${duration(leftS)}`
                : 'expired'}
          </dd>
        </div>
        <div>
          <dt>Seen</dt>
          <dd aria-live="polite">
            <SeenText seen={seen} />
          </dd>
        </div>
        <div>
          <dt>Address</dt>
          <dd class="wrap">{pod.url}</dd>
        </div>
      </dl>
      <div class="actions">
        <a class="button second" href={link('verification', pod.pod)}>
          <Icon name="verification" size={16} /> Every check
          <span class="hidden"> of pod {short(pod.pod)}</span>
        </a>
        <button
          type="button"
          class="second"
          onClick={onVerify}
          disabled={seen !== undefined && 'busy' in seen}
        >
          <Icon name="again" size={16} /> Verify again
          <span class="hidden"> pod {short(pod.pod)}</span>
        </button>
      </div>
    </li>
  );
}

function Prices({ offer, token }: { offer: Pod['offers'][number]; token: Token | null }) {
  return (
    <div class="offer">
      <p class="offer-model">{offer.model}</p>
      {token && (
        <p>
          <strong>{amount(offer.input_price_per_mtok, token.decimals)}</strong> in,{' '}
          <strong>{amount(offer.output_price_per_mtok, token.decimals)}</strong> out
          <span class="quiet"> {token.symbol} per million tokens</span>
        </p>
      )}
      <p class="quiet">
        {offer.context_tokens.toLocaleString()} tokens of context, answers up to{' '}
        {offer.max_output_tokens.toLocaleString()}
      </p>
    </div>
  );
}

function SeenText({ seen }: { seen: Seen | undefined }) {
  if (!seen) return <>not verified in this tab yet</>;
  if ('busy' in seen) return <>verifying</>;
  if ('failure' in seen) return <span class="bad-text">{seen.failure.message}</span>;
  const { verdict, dossier } = seen.verified.audit;
  if (!verdict.accepted) return <span class="bad-text">refused: {verdict.refused_by}</span>;
  return (
    <>
      verified {ago(dossier.gathered_at_unix_s)}, answered in {seen.verified.took_ms} ms
    </>
  );
}
