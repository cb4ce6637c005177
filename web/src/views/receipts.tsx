import { useState } from 'preact/hooks';
import {
  asFailure,
  type Failure,
  type Receipt,
  type ReceiptCheck,
  type Receipts,
  send,
  type Status,
  text,
} from '../api';
import { useLoaded } from '../load';
import { Dialog } from '../parts/dialog';
import { Icon } from '../parts/icon';
import { Empty, Fault, Waiting } from '../parts/notice';
import { link } from '../route';
import { download, money, short, whenText } from '../show';
import { ReceiptDetail } from './receipt';

interface Filter {
  pod: string;
  model: string;
  since: string;
}

const NO_FILTER: Filter = { pod: '', model: '', since: '' };

function query(filter: Filter, more: Record<string, string> = {}): string {
  const since = filter.since ? { since_unix_s: String(Date.parse(filter.since) / 1000) } : {};
  const entries = Object.entries({
    pod: filter.pod.trim(),
    model: filter.model.trim(),
    ...since,
    ...more,
  });
  const set = entries.filter(([, value]) => value !== '');
  return set.length > 0 ? `?${new URLSearchParams(set)}` : '';
}

export function ReceiptsView({ id, status }: { id: string | null; status: Status | null }) {
  const [filter, setFilter] = useState(NO_FILTER);
  const receipts = useLoaded<Receipts>(`receipts${query(filter)}`);
  const filtered = query(filter) !== '';
  const list = receipts.value?.receipts ?? [];
  return (
    <section class="page">
      <header class="page-head">
        <div>
          <h1>Receipts</h1>
          <p class="lead">
            What enclaves have signed for the answers they gave. They hold without this server, and
            without a network.
          </p>
        </div>
      </header>
      <Filters filter={filter} onFilter={setFilter} />
      <Tools filter={filter} any={list.length > 0} />
      {receipts.failure && <Fault failure={receipts.failure} retry={() => void receipts.again()} />}
      {receipts.busy && !receipts.value && <Waiting what="Reading the receipts" />}
      {receipts.value && list.length === 0 && (
        <Empty title={filtered ? 'No receipt matches.' : 'No receipts yet.'}>
          {filtered ? (
            <button type="button" class="link" onClick={() => setFilter(NO_FILTER)}>
              Show all
            </button>
          ) : (
            <p>
              Each answer brings one. <a href={link('chat')}>Ask something</a>.
            </p>
          )}
        </Empty>
      )}
      {list.length > 0 && <Table list={list} status={status} />}
      {receipts.value && receipts.value.found > list.length && (
        <p class="quiet">
          The newest {list.length} of {receipts.value.found}. The export has all of them.
        </p>
      )}
      {id && <One id={id} status={status} />}
    </section>
  );
}

function Filters({ filter, onFilter }: { filter: Filter; onFilter: (filter: Filter) => void }) {
  const set = (name: keyof Filter) => (event: { currentTarget: HTMLInputElement }) =>
    onFilter({ ...filter, [name]: event.currentTarget.value });
  return (
    <form
      class="filters"
      role="search"
      aria-label="Receipts"
      onSubmit={(event) => event.preventDefault()}
    >
      <label class="field">
        Model
        <input
          type="text"
          value={filter.model}
          onInput={set('model')}
          placeholder="any"
          autocomplete="off"
          spellcheck={false}
        />
      </label>
      <label class="field">
        Pod
        <input
          type="text"
          value={filter.pod}
          onInput={set('pod')}
          placeholder="any, or how its id begins"
          autocomplete="off"
          spellcheck={false}
        />
      </label>
      <label class="field">
        Since (UTC)
        <input type="date" value={filter.since} onInput={set('since')} />
      </label>
    </form>
  );
}

function Tools({ filter, any }: { filter: Filter; any: boolean }) {
  const [checked, setChecked] = useState<ReceiptCheck | null>(null);
  const [failure, setFailure] = useState<Failure | null>(null);
  const guarded = (work: Promise<unknown>) => {
    setFailure(null);
    work.catch((error: unknown) => setFailure(asFailure(error)));
  };
  const save = (format: 'csv' | 'json') =>
    guarded(
      text(`receipts/export${query(filter, { format })}`).then((body) =>
        download(`receipts.${format}`, format === 'csv' ? 'text/csv' : 'application/json', body),
      ),
    );
  return (
    <div>
      <div class="actions">
        <button
          type="button"
          onClick={() => guarded(send<ReceiptCheck>('receipts/check', {}).then(setChecked))}
          disabled={!any}
        >
          <Icon name="verification" size={16} /> Check all
        </button>
        <button type="button" class="second" onClick={() => save('csv')} disabled={!any}>
          <Icon name="download" size={16} /> CSV
        </button>
        <button type="button" class="second" onClick={() => save('json')} disabled={!any}>
          <Icon name="download" size={16} /> JSON
        </button>
      </div>
      <div class="live" aria-live="polite">
        {failure && <Fault failure={failure} />}
        {checked && (
          <p class={`verdict small ${checked.failed.length === 0 ? 'good' : 'bad'}`}>
            <Icon name={checked.failed.length === 0 ? 'check' : 'cross'} />
            <span>
              {checked.valid} of {checked.checked} valid
              {checked.failed.map((one) => `; ${short(one.request)}: ${one.reason}`)}
            </span>
          </p>
        )}
      </div>
    </div>
  );
}

function Table({ list, status }: { list: Receipt[]; status: Status | null }) {
  const token = status?.token;
  return (
    <table class="rows">
      <caption class="hidden">Receipts, newest first</caption>
      <thead>
        <tr>
          <th scope="col">Finished</th>
          <th scope="col">Model</th>
          <th scope="col">Pod</th>
          <th scope="col" class="number">
            Tokens
          </th>
          <th scope="col" class="number">
            Cost
          </th>
          <th scope="col">Signature</th>
        </tr>
      </thead>
      <tbody>
        {list.map((one) => (
          <tr key={one.request}>
            <th scope="row" data-label="Finished">
              <a href={link('receipts', one.request)}>{whenText(one.finished)}</a>
            </th>
            <td data-label="Model">{one.model}</td>
            <td data-label="Pod">
              <code title={one.pod}>{short(one.pod)}</code>
            </td>
            <td data-label="Tokens" class="number">
              {one.prompt_tokens ?? '?'} + {one.completion_tokens ?? '?'}
            </td>
            <td data-label="Cost" class="number">
              {token && one.cost ? money(one.cost, token) : '?'}
            </td>
            <td data-label="Signature">
              <span class={`badge ${one.signature === 'valid' ? 'good' : 'bad'}`}>
                {one.signature}
              </span>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function One({ id, status }: { id: string; status: Status | null }) {
  const receipt = useLoaded<Receipt>(`receipts/${encodeURIComponent(id)}`);
  return (
    <Dialog title="Receipt" onClose={() => (location.hash = link('receipts'))} wide>
      {receipt.failure && <Fault failure={receipt.failure} />}
      {receipt.value ? (
        <ReceiptDetail receipt={receipt.value} status={status} />
      ) : (
        !receipt.failure && <Waiting what="Reading the receipt" />
      )}
    </Dialog>
  );
}
