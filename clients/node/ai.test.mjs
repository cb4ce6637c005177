// The AI SDK (`ai`) by both APIs: text, streams, functions, objects, vectors.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const { PHALLAMA_TEST_MODEL: MODEL, PHALLAMA_TEST_VECTORS: VECTORS, PHALLAMA_TEST_SCRIPTED: SCRIPTED } = process.env;
globalThis.AI_SDK_LOG_WARNINGS = false;
const options = { name: 'phallama', baseURL: process.env.OPENAI_BASE_URL, includeUsage: true };
const v1 = createOpenAICompatible({ ...options, supportsStructuredOutputs: true });
const [major] = process.versions.node.split('.').map(Number);
// ollama-ai-provider-v2 says that it needs Node 20.
const providers = { v1 };
if (major >= 20) {
  const { createOllama } = await import('ollama-ai-provider-v2');
  providers.ollama = createOllama({ baseURL: `${process.env.OLLAMA_HOST}/api` });
} else {
  test('ollama-ai-provider-v2', { skip: `needs Node 20, this is ${process.version}` }, () => {});
}

for (const [name, provider] of Object.entries(providers)) {
  test(`${name}: a text has usage`, async () => {
    const { text, usage } = await generateText({
      model: provider(MODEL), prompt: 'Hello', maxOutputTokens: 8, maxRetries: 0,
    });
    assert.ok(text);
    assert.ok(usage.outputTokens > 0);
  });

  test(`${name}: a stream is whole and has usage`, async () => {
    const { textStream, usage } = streamText({
      model: provider(SCRIPTED), prompt: 'say one two three', maxRetries: 0,
    });
    let text = '';
    for await (const part of textStream) text += part;
    assert.equal(text, 'one two three');
    assert.ok((await usage).outputTokens > 0);
  });

  test(`${name}: an aborted stream ends`, { timeout: 60_000 }, async () => {
    const controller = new AbortController();
    const { fullStream } = streamText({
      model: provider(SCRIPTED), prompt: 'slow 600 100', abortSignal: controller.signal, maxRetries: 0,
    });
    const kinds = [];
    for await (const part of fullStream) {
      kinds.push(part.type);
      if (part.type === 'text-delta') controller.abort();
    }
    assert.ok(kinds.includes('abort'));
  });

  test(`${name}: a stream that breaks is told`, async () => {
    const { fullStream } = streamText({
      model: provider(SCRIPTED), prompt: 'eof 3', maxRetries: 0, onError: () => {},
    });
    const kinds = [];
    for await (const part of fullStream) kinds.push(part.type);
    assert.ok(kinds.includes('error'), kinds.join());
  });

  test(`${name}: functions are run until there is an answer`, async () => {
    const asked = [];
    const weather = tool({
      description: 'The weather of a place.',
      inputSchema: z.object({ place: z.string() }),
      execute: async ({ place }) => { asked.push(place); return 'sunny'; },
    });
    const { text } = await generateText({
      model: provider(SCRIPTED), prompt: 'How is it in Boston?', tools: { weather },
      stopWhen: stepCountIs(3), maxRetries: 0,
    });
    assert.deepEqual(asked, ['Boston']);
    assert.ok(text);
  });

  test(`${name}: an object obeys its schema`, async () => {
    const { output } = await generateText({
      model: provider(MODEL), prompt: 'Is water wet? Answer in JSON.', temperature: 0, maxRetries: 0,
      maxOutputTokens: 48, output: Output.object({ schema: z.object({ wet: z.boolean() }) }),
    });
    assert.equal(typeof output.wet, 'boolean');
  });

  test(`${name}: texts become vectors`, async () => {
    const model = provider.textEmbeddingModel(VECTORS);
    const { embeddings } = await embedMany({ model, values: ['llamas', 'tides'], maxRetries: 0 });
    assert.equal(embeddings.length, 2);
  });
}
