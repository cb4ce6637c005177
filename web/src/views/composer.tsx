import { useEffect, useRef, useState } from 'preact/hooks';
import { Icon } from '../parts/icon';

/** Where a question is typed: Enter sends, Shift and Enter begin a line. */
export function Composer(props: {
  disabled: boolean;
  streaming: boolean;
  onAsk: (text: string) => void;
  onStop: () => void;
}) {
  const [text, setText] = useState('');
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const area = field.current;
    if (!area) return;
    area.style.height = 'auto';
    area.style.height = `${Math.min(area.scrollHeight, 220)}px`;
  }, [text]);
  const submit = () => {
    const asking = text.trim();
    if (!asking || props.disabled || props.streaming) return;
    props.onAsk(asking);
    setText('');
  };
  const key = (event: KeyboardEvent) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  };
  return (
    <form class="composer" onSubmit={(event) => (event.preventDefault(), submit())}>
      <label class="hidden" for="prompt">
        Your question
      </label>
      <textarea
        id="prompt"
        ref={field}
        rows={1}
        placeholder="Ask something"
        value={text}
        disabled={props.disabled}
        onInput={(e) => setText(e.currentTarget.value)}
        onKeyDown={key}
      />
      {props.streaming ? (
        <button
          type="button"
          class="round"
          onClick={props.onStop}
          aria-label="Stop the answer"
          title="Stop the answer (Esc)"
        >
          <Icon name="stop" />
        </button>
      ) : (
        <button
          type="submit"
          class="round"
          disabled={props.disabled || !text.trim()}
          aria-label="Send"
          title="Send (Enter)"
        >
          <Icon name="send" />
        </button>
      )}
    </form>
  );
}
