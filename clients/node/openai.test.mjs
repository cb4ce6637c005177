// The npm package `openai`: whole answers, streams, aborts, functions, schemas, vectors.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const { PHALLAMA_TEST_MODEL: MODEL, PHALLAMA_TEST_VECTORS: VECTORS, PHALLAMA_TEST_SCRIPTED: SCRIPTED } = process.env;
const client = new OpenAI({ maxRetries: 0 });
const user = (content) => [{ role: 'user', content }];
const weather = {
  type: 'function',
  function: {
    name: 'weather',
    parameters: { type: 'object', properties: { place: { type: 'string' } }, required: ['place'] },
  },
};

async function textOf(stream) {
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? '';
  return text;
}

test('models are listed and found', async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes(MODEL));
  assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
});

test('an answer has usage and headers', async () => {
  const { data, response } = await client.chat.completions
    .create({ model: MODEL, messages: user('Hello'), max_tokens: 8 })
    .withResponse();
  assert.ok(data.choices[0].message.content);
  assert.ok(data.usage.completion_tokens <= 8);
  assert.equal(response.headers.get('x-phallama-verified'), 'true');
});

test('a stream is whole', async () => {
  const stream = await client.chat.completions.create({
    model: SCRIPTED, messages: user('say one two three'), stream: true,
  });
  assert.equal(await textOf(stream), 'one two three');
});

test('an aborted stream is stopped at the worker', { timeout: 60_000 }, async () => {
  const running = async () => {
    const answer = await client.chat.completions.create({ model: SCRIPTED, messages: user('running') });
    return Number(answer.choices[0].message.content);
  };
  const controller = new AbortController();
  const stream = await client.chat.completions.create(
    { model: SCRIPTED, messages: user('slow 600 100'), stream: true },
    { signal: controller.signal },
  );
  for await (const chunk of stream) {
    if (!chunk.choices[0]?.delta?.content) continue;
    assert.equal(await running(), 1);
    controller.abort();
  }
  while ((await running()) > 0);
});

test('a stream that breaks throws', async () => {
  // Before the first token was told, a failure has a status of its own.
  const broken = async (script) => textOf(await client.chat.completions.create({
    model: SCRIPTED, messages: user(script), stream: true,
  }));
  await assert.rejects(broken('eof 3'), OpenAI.APIError);
});

test('functions are run until there is an answer', async () => {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model: SCRIPTED,
    messages: user('How is it in Boston?'),
    tools: [{
      type: 'function',
      function: { ...weather.function, parse: JSON.parse, function: ({ place }) => { asked.push(place); return 'sunny'; } },
    }],
  });
  assert.ok(await runner.finalContent());
  assert.deepEqual(asked, ['Boston']);
});

test('a schema is parsed', async () => {
  const parsed = await client.chat.completions.parse({
    model: MODEL, messages: user('Is water wet? Answer in JSON.'), max_tokens: 48, temperature: 0,
    response_format: zodResponseFormat(z.object({ wet: z.boolean() }), 'answer'),
  });
  assert.equal(typeof parsed.choices[0].message.parsed.wet, 'boolean');
});

test('texts become vectors', async () => {
  const made = await client.embeddings.create({ model: VECTORS, input: ['llamas', 'tides'] });
  assert.equal(made.data.length, 2);
  assert.ok(made.data[0].embedding.length > 8);
});

test('errors have their classes', async () => {
  await assert.rejects(
    client.chat.completions.create({ model: 'no-such-model', messages: user('x') }),
    (error) => error instanceof OpenAI.NotFoundError && error.code === 'model_not_found',
  );
});

test('a response is whole and streamed', async () => {
  const whole = await client.responses.create({ model: SCRIPTED, input: 'say one two' });
  assert.equal(whole.output_text, 'one two');
  const stream = await client.responses.create({ model: SCRIPTED, input: 'say one two', stream: true });
  let text = '';
  for await (const event of stream) if (event.type === 'response.output_text.delta') text += event.delta;
  assert.equal(text, 'one two');
});
