import { useEffect, useRef, useState } from 'preact/hooks';
import type { Model, Status } from '../api';
import { useLoaded } from '../load';
import { Fault } from '../parts/notice';
import { Picker, Tools } from './chattop';
import { Composer } from './composer';
import { answer, asked, begun, type Options, type Turn } from './conversation';
import { TurnView } from './turn';
import { NoModel, Welcome } from './welcome';
import { Shield } from './shield';

const FIRST: Options = {
  model: '',
  system: 'You are a helpful assistant.',
  maxTokens: 512,
  temperature: 0.7,
};
export function ChatView({ status }: { status: Status | null }) {
  const models = useLoaded<{ models: Model[] }>('models');
  const [options, setOptions] = useState(FIRST);
  const [turns, setTurns] = useState<Turn[]>([]);
  const [opened, setOpened] = useState<Turn | null>(null);
  const stop = useRef<AbortController | null>(null);
  const end = useRef<HTMLDivElement>(null);
  const list = models.value?.models ?? [];
  const model = list.find((one) => one.model === options.model) ?? list[0];
  const streaming = turns.at(-1)?.state === 'streaming';

  const ask = async (text: string) => {
    if (!model || streaming) return;
    const before = [...turns, asked(text)];
    setTurns([...before, begun()]);
    stop.current = new AbortController();
    const show = (turn: Turn) => setTurns([...before, turn]);
    await answer(before, { ...options, model: model.model }, stop.current.signal, show);
    stop.current = null;
  };
  useEffect(() => end.current?.scrollIntoView({ block: 'end' }), [turns]);
  useEffect(() => {
    const escape = (event: KeyboardEvent) => {
      if (event.key === 'Escape' && !document.querySelector('dialog[open]')) stop.current?.abort();
    };
    addEventListener('keydown', escape);
    return () => removeEventListener('keydown', escape);
  }, []);

  return (
    <section class="chat" aria-label="Chat">
      <div class="chat-top">
        <h1 class="hidden">Chat</h1>
        <Picker
          list={list}
          model={model}
          status={status}
          onPick={(name) => setOptions({ ...options, model: name })}
        />
        <Tools
          options={options}
          most={model?.max_output_tokens ?? options.maxTokens}
          onOptions={setOptions}
          turns={turns}
          onNew={() => (stop.current?.abort(), setTurns([]))}
        />
      </div>
      <div class="chat-log">
        {models.failure && <Fault failure={models.failure} retry={() => void models.again()} />}
        {models.value && list.length === 0 && <NoModel />}
        {turns.length === 0 && list.length > 0 && (
          <Welcome root={status?.trust.root ?? null} onAsk={(text) => void ask(text)} />
        )}
        <div
          class="turns"
          role="log"
          aria-live="polite"
          aria-relevant="additions text"
          aria-label="Conversation"
        >
          {turns.map((turn, index) => (
            <TurnView key={index} turn={turn} status={status} onShield={() => setOpened(turn)} />
          ))}
        </div>
        <div ref={end} />
      </div>
      <Composer
        disabled={!model}
        streaming={streaming}
        onAsk={(text) => void ask(text)}
        onStop={() => stop.current?.abort()}
      />
      {opened?.proof && (
        <Shield proof={opened.proof} status={status} onClose={() => setOpened(null)} />
      )}
    </section>
  );
}
