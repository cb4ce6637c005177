"""The real `openai` and `ollama` packages against the local server, a real pod and a real model.

Environment: OPENAI_BASE_URL, OPENAI_API_KEY, OLLAMA_HOST, PHALLAMA_TEST_MODEL.
Meaning is never asserted: the model is small. Protocol, counts and shapes are.
"""

import json
import os
import unittest

import ollama
import openai

MODEL = os.environ["PHALLAMA_TEST_MODEL"]
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]


class OpenAi(unittest.TestCase):
    def setUp(self):
        self.client = openai.OpenAI(max_retries=0)

    def test_models_are_listed_and_found(self):
        names = [model.id for model in self.client.models.list()]
        self.assertIn(MODEL, names)
        self.assertEqual(self.client.models.retrieve(MODEL).id, MODEL)

    def test_whole_answer_has_usage_and_proof(self):
        raw = self.client.chat.completions.with_raw_response.create(
            model=MODEL, messages=MESSAGES, max_tokens=16, temperature=0
        )
        answer = raw.parse()
        self.assertTrue(answer.choices[0].message.content)
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))
        self.assertGreater(answer.usage.prompt_tokens, 0)
        self.assertLessEqual(answer.usage.completion_tokens, 16)
        self.assertEqual(
            answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens
        )
        self.assertEqual(raw.headers["x-phallama-verified"], "true")
        self.assertGreater(int(raw.headers["x-phallama-cost"]), 0)
        self.assertEqual(len(raw.headers["x-phallama-receipt"]), 66)

    def test_stream_equals_the_whole_answer(self):
        def ask(**more):
            return self.client.chat.completions.create(
                model=MODEL, messages=MESSAGES, max_tokens=24, temperature=0, seed=7, **more
            )

        chunks = list(ask(stream=True, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        finishes = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
        self.assertEqual(len(finishes), 1)
        self.assertEqual(chunks[-1].choices, [])
        whole = ask()
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)

    def test_stream_without_usage_has_none(self):
        stream = self.client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=4, stream=True
        )
        self.assertTrue(all(chunk.usage is None for chunk in stream))

    def test_json_schema_is_obeyed(self):
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "boolean"}},
            "required": ["answer"],
            "additionalProperties": False,
        }
        answer = self.client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Is water wet? Answer in JSON."}],
            max_tokens=64,
            temperature=0,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            },
        )
        self.assertIsInstance(json.loads(answer.choices[0].message.content)["answer"], bool)

    def test_unknown_model_is_not_found(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.chat.completions.create(model="no-such-model", messages=MESSAGES)
        self.assertEqual(caught.exception.code, "model_not_found")
        self.assertEqual(caught.exception.param, "model")
        self.assertIn(MODEL, str(caught.exception))

    def test_out_of_range_names_the_field(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(
                model=MODEL, messages=MESSAGES, temperature=99, max_tokens=4
            )
        self.assertIn("temperature", str(caught.exception))


class Ollama(unittest.TestCase):
    def setUp(self):
        self.client = ollama.Client()

    def test_models_are_listed_and_shown(self):
        names = [model.model for model in self.client.list().models]
        self.assertIn(MODEL, names)
        shown = self.client.show(MODEL)
        self.assertIn("completion", shown.capabilities)

    def test_whole_chat_has_counts_and_durations(self):
        answer = self.client.chat(MODEL, MESSAGES, options={"num_predict": 12, "temperature": 0})
        self.assertTrue(answer.done)
        self.assertTrue(answer.message.content)
        self.assertGreater(answer.prompt_eval_count, 0)
        self.assertLessEqual(answer.eval_count, 12)
        self.assertGreater(answer.total_duration, 0)

    def test_streamed_chat_ends_once(self):
        parts = list(self.client.chat(MODEL, MESSAGES, stream=True, options={"num_predict": 12}))
        self.assertEqual([part.done for part in parts].count(True), 1)
        self.assertTrue(parts[-1].done)
        self.assertTrue("".join(part.message.content for part in parts))

    def test_generate_with_and_without_stream(self):
        options = {"num_predict": 8, "temperature": 0, "seed": 1}
        whole = self.client.generate(MODEL, "The sky is", options=options)
        parts = list(self.client.generate(MODEL, "The sky is", stream=True, options=options))
        self.assertEqual("".join(part.response for part in parts), whole.response)

    def test_raw_generate_completes_the_prompt(self):
        whole = self.client.generate(MODEL, "Once upon a", raw=True, options={"num_predict": 4})
        self.assertTrue(whole.response)

    def test_empty_generate_means_load(self):
        self.assertEqual(self.client.generate(MODEL, "").done_reason, "load")

    def test_unknown_model_is_not_found(self):
        with self.assertRaises(ollama.ResponseError) as caught:
            self.client.chat("no-such-model", MESSAGES)
        self.assertEqual(caught.exception.status_code, 404)
        self.assertIn(MODEL, caught.exception.error)


if __name__ == "__main__":
    unittest.main()
