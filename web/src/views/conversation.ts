/** One conversation, in memory only: what was asked and answered, and the stream that brings it. */
import { asFailure, authorization, Failure, failureOf, type Units } from '../api';

/** What the local server says at the end of an answer; all of it stands in the receipt. */
export interface Proof {
  pod: string;
  receipt: string;
  cost: Units;
  verified: boolean;
}

export interface Turn {
  role: 'user' | 'assistant';
  text: string;
  thinking: string;
  state: 'streaming' | 'whole' | 'stopped' | 'failed';
  failure?: Failure;
  proof?: Proof;
  tokens?: { prompt: number; completion: number };
  /** From the question to the first text, and to the end. */
  firstMs?: number;
  tookMs?: number;
}

export interface Options {
  model: string;
  system: string;
  maxTokens: number;
  temperature: number;
}

interface Chunk {
  choices?: { delta?: { content?: string; reasoning_content?: string } }[];
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
  phallama?: Proof;
  error?: { code: string; message: string };
}

const plain = (role: Turn['role'], text: string): Turn => ({
  role,
  text,
  thinking: '',
  state: 'whole',
});

export const asked = (text: string): Turn => plain('user', text);
export const begun = (): Turn => ({ ...plain('assistant', ''), state: 'streaming' });

/** Streams the answer to `turns`; `show` gets it after every piece. Never throws. */
export async function answer(
  turns: Turn[],
  options: Options,
  stop: AbortSignal,
  show: (turn: Turn) => void,
): Promise<Turn> {
  const began = performance.now();
  let turn = begun();
  const change = (part: Partial<Turn>) => {
    turn = { ...turn, ...part };
    show(turn);
  };
  try {
    const response = await post(turns, options, stop);
    for await (const chunk of chunks(response)) {
      if (chunk.error) throw new Failure(chunk.error.code, chunk.error.message);
      const delta = chunk.choices?.[0]?.delta;
      if (delta?.content) {
        const firstMs = turn.firstMs ?? performance.now() - began;
        change({ text: turn.text + delta.content, firstMs });
      }
      if (delta?.reasoning_content) change({ thinking: turn.thinking + delta.reasoning_content });
      if (chunk.phallama) change({ proof: chunk.phallama });
      if (chunk.usage) {
        change({
          tokens: { prompt: chunk.usage.prompt_tokens, completion: chunk.usage.completion_tokens },
        });
      }
    }
    if (!turn.proof) throw new Failure('cut', 'The answer broke off before its end.');
    change({ state: 'whole', tookMs: performance.now() - began });
  } catch (error) {
    if (stop.aborted) change({ state: 'stopped' });
    else change({ state: 'failed', failure: asFailure(error) });
  }
  return turn;
}

async function post(turns: Turn[], options: Options, signal: AbortSignal): Promise<Response> {
  const said = turns
    .filter((turn) => turn.text !== '')
    .map(({ role, text }) => ({ role, content: text }));
  const system = options.system.trim();
  const messages = system ? [{ role: 'system', content: system }, ...said] : said;
  const body = {
    model: options.model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: options.maxTokens,
    temperature: options.temperature,
  };
  const init = {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...authorization() },
    signal,
  };
  let response: Response;
  try {
    response = await fetch('/v1/chat/completions', init);
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Failure(
      'offline',
      'The local server does not answer. Is `phallama serve` still running?',
    );
  }
  if (!response.ok) throw await failureOf(response);
  return response;
}

/** The events of the stream, one JSON object each. */
async function* chunks(response: Response): AsyncGenerator<Chunk> {
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = '';
  for (;;) {
    let part: ReadableStreamReadResult<string>;
    try {
      part = await reader.read();
    } catch {
      throw new Failure('cut', 'The answer broke off before its end.');
    }
    if (part.done) return;
    pending += part.value;
    const lines = pending.split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) {
      const data = line.startsWith('data: ') ? line.slice(6).trim() : '';
      if (data && data !== '[DONE]') yield JSON.parse(data) as Chunk;
    }
  }
}
