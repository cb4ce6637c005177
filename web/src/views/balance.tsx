import { useState } from 'preact/hooks';
import type { Balance, Limits, Status, Token } from '../api';
import { useLoaded } from '../load';
import { Copy } from '../parts/copy';
import { Icon } from '../parts/icon';
import { Fault, Waiting } from '../parts/notice';
import { amount, total } from '../show';
import { Channels } from './channels';
import { SpendChart } from './chart';
import { LimitsCard } from './limits';
import { type Move, MoveDialog } from './move';

const EVERY_MS = 15_000;

export function BalanceView({ status }: { status: Status | null }) {
  const balance = useLoaded<Balance>('balance', EVERY_MS);
  const limits = useLoaded<Limits>('limits');
  const [move, setMove] = useState<Move | null>(null);
  const value = balance.value;
  const token: Token | null = value
    ? { symbol: value.token, decimals: value.decimals }
    : (status?.token ?? null);
  return (
    <section class="page">
      <header class="page-head">
        <div>
          <h1>Balance</h1>
          <p class="lead">Money in the escrow. Pods can only claim what your key has signed for.</p>
        </div>
      </header>
      {balance.failure && <Fault failure={balance.failure} retry={() => void balance.again()} />}
      {balance.busy && !value && <Waiting what="Reading the account" />}
      {value && token && (
        <>
          <Sums balance={value} token={token} onMove={setMove} />
          <section class="card" aria-labelledby="spent">
            <h2 id="spent">Spent, by day</h2>
            <SpendChart days={value.spent_by_day} token={token} />
          </section>
          <Channels balance={value} token={token} onMove={setMove} />
          {limits.value && <LimitsCard limits={limits.value} token={token} onMove={setMove} />}
          {limits.failure && <Fault failure={limits.failure} retry={() => void limits.again()} />}
          <Keys balance={value} />
          {move && (
            <MoveDialog
              move={move}
              token={token}
              canSend={value.can_send}
              onClose={() => setMove(null)}
              onMoved={() => void Promise.all([balance.again(), limits.again()])}
            />
          )}
        </>
      )}
    </section>
  );
}

function Sums({
  balance,
  token,
  onMove,
}: {
  balance: Balance;
  token: Token;
  onMove: (move: Move) => void;
}) {
  const locked = total(balance.channels.map((channel) => channel.left));
  const spent = total(
    balance.channels.map((channel) =>
      BigInt(channel.charged) > BigInt(channel.claimed) ? channel.charged : channel.claimed,
    ),
  );
  const show = (units: string | bigint) => amount(units, token.decimals);
  return (
    <div class="sums">
      <div class="sum main">
        <p class="sum-name">Free</p>
        <p class="sum-value">
          {show(balance.free)} <span>{token.symbol}</span>
        </p>
        {balance.promised !== '0' && (
          <p class="quiet">
            {show(balance.promised)} of it promised to pods that have not locked it yet
          </p>
        )}
        <div class="actions">
          <button type="button" onClick={() => onMove({ kind: 'deposit' })}>
            <Icon name="plus" size={16} /> Deposit
          </button>
          <button
            type="button"
            class="second"
            disabled={balance.free === '0'}
            onClick={() => onMove({ kind: 'withdraw', free: balance.free })}
          >
            <Icon name="upload" size={16} /> Withdraw
          </button>
        </div>
      </div>
      <div class="sum">
        <p class="sum-name">Locked for pods</p>
        <p class="sum-value">
          {show(locked)} <span>{token.symbol}</span>
        </p>
        <p class="quiet">and not earned by them yet</p>
      </div>
      <div class="sum">
        <p class="sum-name">Spent</p>
        <p class="sum-value">
          {show(spent)} <span>{token.symbol}</span>
        </p>
        <p class="quiet">{show(balance.spent_today)} of it today</p>
      </div>
      {balance.disputes > 0 && (
        <p class="alarm bad inline">
          <Icon name="warning" />
          <span>
            {balance.disputes} {balance.disputes === 1 ? 'dispute' : 'disputes'} with pods. The
            evidence: <code>phallama disputes</code>
          </span>
        </p>
      )}
    </div>
  );
}

function Keys({ balance }: { balance: Balance }) {
  return (
    <section class="card" aria-labelledby="keys">
      <h2 id="keys">Keys</h2>
      <dl class="facts-list">
        <div>
          <dt>User key, spends on inference</dt>
          <dd class="with-copy">
            <code class="wrap">{balance.user}</code>
            <Copy text={balance.user} what="the user key’s address" />
          </dd>
        </div>
        <div>
          <dt>Owner, gets withdrawals</dt>
          <dd class="with-copy">
            {balance.owner ? (
              <>
                <code class="wrap">{balance.owner}</code>
                <Copy text={balance.owner} what="the owner’s address" />
              </>
            ) : (
              'none yet: whoever deposits first'
            )}
          </dd>
        </div>
      </dl>
    </section>
  );
}
