import type { Model, Status } from '../api';
import { Icon } from '../parts/icon';
import { Menu } from '../parts/menu';
import { amount, download } from '../show';
import type { Options, Turn } from './conversation';
import { PodBadge } from './podbadge';

/** Which model, at which price, and whether its pod is verified. */
export function Picker(props: {
  list: Model[];
  model: Model | undefined;
  status: Status | null;
  onPick: (name: string) => void;
}) {
  const { list, model, status } = props;
  const token = status?.token;
  return (
    <div class="picker">
      <label class="hidden" for="model">
        Model
      </label>
      <select
        id="model"
        value={model?.model ?? ''}
        disabled={list.length === 0}
        onChange={(event) => props.onPick(event.currentTarget.value)}
      >
        {list.length === 0 && <option value="">no model</option>}
        {list.map((one) => (
          <option key={one.model} value={one.model}>
            {one.model}
            {token
              ? ` · ${amount(one.input_price_per_mtok, token.decimals)} in, ${amount(one.output_price_per_mtok, token.decimals)} out`
              : ''}
          </option>
        ))}
      </select>
      {model?.pods[0] && <PodBadge key={model.pods[0]} pod={model.pods[0]} status={status} />}
      {model && token && (
        <p class="quiet price">
          {token.symbol} per million tokens, from {model.pods.length}{' '}
          {model.pods.length === 1 ? 'pod' : 'pods'}
        </p>
      )}
    </div>
  );
}

/** Options, saving, beginning anew. */
export function Tools(props: {
  options: Options;
  /** Longest answer of the model, in tokens. */
  most: number;
  onOptions: (o: Options) => void;
  turns: Turn[];
  onNew: () => void;
}) {
  const { options, onOptions, turns } = props;
  const save = () => {
    const said = turns.map(({ role, text, proof, tokens }) => ({
      role,
      content: text,
      proof,
      tokens,
    }));
    download(
      'conversation.json',
      'application/json',
      JSON.stringify({ model: options.model, turns: said }, null, 2),
    );
  };
  return (
    <div class="tools">
      <Menu name="Options" icon="options">
        <label>
          What the model is told first
          <textarea
            rows={3}
            value={options.system}
            onInput={(e) => onOptions({ ...options, system: e.currentTarget.value })}
          />
        </label>
        <label>
          Longest answer, in tokens
          <input
            type="number"
            min={1}
            max={props.most}
            value={options.maxTokens}
            onInput={(e) =>
              onOptions({ ...options, maxTokens: Number(e.currentTarget.value) || 1 })
            }
          />
        </label>
        <label>
          Temperature: {options.temperature.toFixed(1)}
          <input
            type="range"
            min={0}
            max={2}
            step={0.1}
            value={options.temperature}
            onInput={(e) => onOptions({ ...options, temperature: Number(e.currentTarget.value) })}
          />
        </label>
      </Menu>
      <button
        type="button"
        class="icon-button"
        onClick={save}
        disabled={turns.length === 0}
        aria-label="Save this conversation to a file"
        title="Save this conversation to a file"
      >
        <Icon name="download" />
      </button>
      <button
        type="button"
        class="icon-button"
        onClick={props.onNew}
        disabled={turns.length === 0}
        aria-label="New conversation; this one is forgotten"
        title="New conversation; this one is forgotten"
      >
        <Icon name="plus" />
      </button>
    </div>
  );
}
