import type { Balance, Channel, Token } from '../api';
import { Icon } from '../parts/icon';
import { amount, duration, short, when } from '../show';
import type { Move } from './move';

const EXIT_WINDOW_S = 172_800;

/** What is locked for each pod, and the ways to get it back. */
export function Channels({
  balance,
  token,
  onMove,
}: {
  balance: Balance;
  token: Token;
  onMove: (move: Move) => void;
}) {
  return (
    <section class="card" aria-labelledby="channels">
      <h2 id="channels">With pods</h2>
      {balance.channels.length === 0 && (
        <p class="quiet">
          Nothing is locked for any pod. The first question to one locks a little.
        </p>
      )}
      <ul class="channels">
        {balance.channels.map((channel) => (
          <Row
            key={channel.pod}
            channel={channel}
            now={balance.now_unix_s}
            token={token}
            onMove={onMove}
          />
        ))}
      </ul>
    </section>
  );
}

function Row({
  channel,
  now,
  token,
  onMove,
}: {
  channel: Channel;
  now: number;
  token: Token;
  onMove: (move: Move) => void;
}) {
  const show = (units: string) => amount(units, token.decimals);
  const { pod, exit_at_unix_s: exitAt } = channel;
  const leftS = exitAt - now;
  return (
    <li class="channel">
      <p class="channel-pod">
        <code title={pod}>{short(pod)}</code>
      </p>
      <dl class="inline-facts">
        <div>
          <dt>charged</dt>
          <dd>{show(channel.charged)}</dd>
        </div>
        <div>
          <dt>paid</dt>
          <dd>{show(channel.claimed)}</dd>
        </div>
        <div>
          <dt>locked beyond</dt>
          <dd>{show(channel.left)}</dd>
        </div>
      </dl>
      {exitAt > 0 && (
        <div class="exit">
          <p>
            <Icon name="clock" size={16} />
            {leftS > 0
              ? ` Exit runs until ${when(exitAt)}, ${duration(leftS)} left`
              : ' The exit is over and can be finished'}
          </p>
          <progress
            max={EXIT_WINDOW_S}
            value={Math.max(0, EXIT_WINDOW_S - Math.max(0, leftS))}
            aria-label="Time of the exit that has passed"
          />
        </div>
      )}
      <div class="actions">
        {exitAt === 0 && (
          <>
            <button
              type="button"
              class="second small"
              disabled={channel.left === '0'}
              onClick={() => onMove({ kind: 'close', pod })}
            >
              Close now<span class="hidden"> with pod {short(pod)}</span>
            </button>
            <button
              type="button"
              class="second small"
              disabled={channel.left === '0'}
              onClick={() => onMove({ kind: 'exit', pod, step: 'start' })}
            >
              Start the exit<span class="hidden"> from pod {short(pod)}</span>
            </button>
          </>
        )}
        {exitAt > 0 && (
          <button
            type="button"
            class="small"
            disabled={leftS > 0}
            onClick={() => onMove({ kind: 'exit', pod, step: 'finish' })}
          >
            Finish the exit<span class="hidden"> from pod {short(pod)}</span>
          </button>
        )}
      </div>
    </li>
  );
}
