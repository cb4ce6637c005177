/** Bars by day, drawn by hand; the same numbers as a table for those who do not see them. */
import type { Balance, Token } from '../api';
import { day, money } from '../show';

const [WIDTH, HEIGHT, GAP] = [600, 120, 4];

export function SpendChart({ days, token }: { days: Balance['spent_by_day']; token: Token }) {
  const most = days.reduce((max, one) => (BigInt(one.cost) > max ? BigInt(one.cost) : max), 0n);
  const bar = (WIDTH - GAP * (days.length - 1)) / days.length;
  const height = (cost: string) =>
    most === 0n
      ? 0
      : Math.max(BigInt(cost) > 0n ? 3 : 0, Number((BigInt(cost) * BigInt(HEIGHT)) / most));
  const [first, last] = [days[0], days.at(-1)];
  const used = days.filter((one) => one.answers > 0);
  if (!first || !last) return null;
  return (
    <figure class="chart">
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT + 2}`}
        preserveAspectRatio="none"
        aria-hidden="true"
        focusable="false"
      >
        {days.map((one, index) => (
          <rect
            key={one.day_unix_s}
            class="bar"
            x={index * (bar + GAP)}
            width={bar}
            y={HEIGHT - height(one.cost)}
            height={height(one.cost)}
            rx={2}
          >
            <title>{`${day(one.day_unix_s)}: ${money(one.cost, token)}`}</title>
          </rect>
        ))}
        <line class="axis" x1={0} x2={WIDTH} y1={HEIGHT + 1} y2={HEIGHT + 1} />
      </svg>
      <div class="chart-scale" aria-hidden="true">
        <span>{day(first.day_unix_s)}</span>
        <span>{most === 0n ? 'nothing spent' : `most in a day: ${money(most, token)}`}</span>
        <span>today</span>
      </div>
      <table class="hidden">
        <caption>Spent by day (UTC)</caption>
        <thead>
          <tr>
            <th scope="col">Day</th>
            <th scope="col">Spent</th>
            <th scope="col">Answers</th>
          </tr>
        </thead>
        <tbody>
          {used.length === 0 && (
            <tr>
              <td colSpan={3}>Nothing in {days.length} days</td>
            </tr>
          )}
          {used.map((one) => (
            <tr key={one.day_unix_s}>
              <th scope="row">{day(one.day_unix_s)}</th>
              <td>{money(one.cost, token)}</td>
              <td>{one.answers}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </figure>
  );
}
