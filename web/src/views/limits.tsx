import type { Limits, Token, Units } from '../api';
import { amount } from '../show';
import type { Move } from './move';

/** The user's own limits and what has been used of them. */
export function LimitsCard({
  limits,
  token,
  onMove,
}: {
  limits: Limits;
  token: Token;
  onMove: (move: Move) => void;
}) {
  const mostUsed = limits.used_by_pod.reduce(
    (max, one) => (BigInt(one.used) > BigInt(max) ? one.used : max),
    '0',
  );
  return (
    <section class="card" aria-labelledby="limits">
      <div class="card-head">
        <h2 id="limits">Limits</h2>
        <button
          type="button"
          class="second small"
          onClick={() => onMove({ kind: 'limits', limits })}
        >
          Change<span class="hidden"> the limits</span>
        </button>
      </div>
      <ul class="limits">
        <One name="Per request" limit={limits.per_request} used={null} token={token} />
        <One name="Per day (UTC)" limit={limits.per_day} used={limits.used_today} token={token} />
        <One name="Per pod" limit={limits.per_pod} used={mostUsed} token={token} />
      </ul>
    </section>
  );
}

function One({
  name,
  limit,
  used,
  token,
}: {
  name: string;
  limit: Units | null;
  used: Units | null;
  token: Token;
}) {
  const show = (units: Units) => `${amount(units, token.decimals)} ${token.symbol}`;
  return (
    <li>
      <p>
        <span>{name}</span>
        <strong>{limit === null ? 'no limit' : show(limit)}</strong>
      </p>
      {limit !== null && used !== null && (
        <>
          <meter
            min={0}
            max={Number(limit) || 1}
            value={Number(used)}
            aria-label={`Used of the limit ${name.toLowerCase()}`}
          />
          <p class="quiet">{show(used)} used</p>
        </>
      )}
    </li>
  );
}
