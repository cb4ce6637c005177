import type { Status } from '../api';
import { Copy } from '../parts/copy';
import { Icon } from '../parts/icon';
import { Markdown } from '../parts/markdown';
import { Message } from '../parts/notice';
import { money, short } from '../show';
import { standing } from '../standing';
import type { Turn } from './conversation';

export function TurnView({
  turn,
  status,
  onShield,
}: {
  turn: Turn;
  status: Status | null;
  onShield: () => void;
}) {
  if (turn.role === 'user') {
    return (
      <article class="turn user" aria-label="You">
        <p>{turn.text}</p>
      </article>
    );
  }
  return (
    <article
      class={`turn assistant ${turn.state}`}
      aria-label="Answer"
      aria-busy={turn.state === 'streaming'}
    >
      {turn.thinking && (
        <details class="thinking">
          <summary>Thoughts</summary>
          <p>{turn.thinking}</p>
        </details>
      )}
      {turn.text && <Markdown text={turn.text} />}
      {turn.state === 'streaming' && (
        <p class="waiting" role="status">
          <span class="spinner" aria-hidden="true" />
          <span class={turn.text ? 'hidden' : ''}>
            {turn.text ? 'Answering' : 'Verifying, sealing, waiting for the first token'}
          </span>
        </p>
      )}
      {turn.state === 'stopped' && (
        <p class="quiet">Stopped. What had arrived is charged, nothing after it.</p>
      )}
      {turn.state === 'failed' && (
        <div class="notice bad" role="alert">
          <Icon name="warning" />
          <p>
            <Message text={turn.failure?.message ?? ''} />
          </p>
        </div>
      )}
      {turn.proof && <Foot turn={turn} status={status} onShield={onShield} />}
    </article>
  );
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;

/** Shield, cost and size of an answer. */
function Foot({
  turn,
  status,
  onShield,
}: {
  turn: Turn;
  status: Status | null;
  onShield: () => void;
}) {
  if (!turn.proof) return null;
  const { tone, icon, word } = standing(status);
  const cost = status?.token ? money(turn.proof.cost, status.token) : null;
  return (
    <footer class="turn-foot">
      <button type="button" class={`shield ${tone}`} onClick={onShield}>
        <Icon name={icon} size={16} />
        <span>{word}</span>
        <span class="hidden">: verification and receipt of this answer</span>
      </button>
      {cost && <span class="cost">{cost}</span>}
      {turn.tokens && (
        <span>
          {turn.tokens.prompt} + {turn.tokens.completion} tokens
        </span>
      )}
      {turn.firstMs !== undefined && turn.tookMs !== undefined && (
        <span title={`First text after ${seconds(turn.firstMs)}`}>{seconds(turn.tookMs)}</span>
      )}
      <span title={turn.proof.pod}>pod {short(turn.proof.pod)}</span>
      <Copy text={turn.text} what="the answer" />
    </footer>
  );
}
