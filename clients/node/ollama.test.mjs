// The npm package `ollama`: lists, chats, aborts, functions, vectors.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ollama } from 'ollama';

const { PHALLAMA_TEST_MODEL: MODEL, PHALLAMA_TEST_VECTORS: VECTORS, PHALLAMA_TEST_SCRIPTED: SCRIPTED } = process.env;
const host = process.env.OLLAMA_HOST;
const ollama = new Ollama({ host });
const user = (content) => [{ role: 'user', content }];

test('models are listed and shown', async () => {
  const names = (await ollama.list()).models.map((model) => model.name);
  assert.ok(names.includes(MODEL));
  assert.ok((await ollama.show({ model: MODEL })).capabilities.includes('completion'));
});

test('a chat has counts', async () => {
  const answer = await ollama.chat({ model: MODEL, messages: user('Hello'), options: { num_predict: 8 } });
  assert.ok(answer.message.content);
  assert.ok(answer.eval_count <= 8);
});

test('streams are whole', async () => {
  let text = '';
  const chat = await ollama.chat({ model: SCRIPTED, messages: user('say one two'), stream: true });
  for await (const part of chat) text += part.message.content;
  const made = await ollama.generate({ model: SCRIPTED, prompt: 'say three', stream: true });
  for await (const part of made) text += part.response;
  assert.equal(text, 'one twothree');
});

test('an aborted stream throws and is stopped at the worker', { timeout: 60_000 }, async () => {
  const running = async () =>
    Number((await ollama.chat({ model: SCRIPTED, messages: user('running') })).message.content);
  // `abort` ends all streams of a client, so this one has its own.
  const impatient = new Ollama({ host });
  const stream = await impatient.chat({ model: SCRIPTED, messages: user('slow 600 100'), stream: true });
  await assert.rejects(async () => {
    for await (const part of stream) {
      if (!part.message.content) continue;
      assert.equal(await running(), 1);
      impatient.abort();
    }
  }, { name: 'AbortError' });
  while ((await running()) > 0);
});

test('a stream that breaks throws', async () => {
  await assert.rejects(async () => {
    const stream = await ollama.chat({ model: SCRIPTED, messages: user('eof 3'), stream: true });
    for await (const part of stream) assert.ok(!part.done);
  }, /broke off/);
});

test('a function is called', async () => {
  const parameters = { type: 'object', properties: { place: { type: 'string' } }, required: ['place'] };
  const answer = await ollama.chat({
    model: SCRIPTED, messages: user('How is it in Boston?'),
    tools: [{ type: 'function', function: { name: 'weather', description: 'The weather.', parameters } }],
  });
  assert.deepEqual(answer.message.tool_calls[0].function, { name: 'weather', arguments: { place: 'Boston' } });
});

test('texts become vectors', async () => {
  const made = await ollama.embed({ model: VECTORS, input: ['llamas', 'tides'] });
  assert.equal(made.embeddings.length, 2);
});

test('an unknown model is told', async () => {
  await assert.rejects(ollama.chat({ model: 'no-such-model', messages: user('x') }), /no-such-model/);
});
