"""The real `openai` and `ollama` packages against the local server, a real pod and a real model.

Environment: OPENAI_BASE_URL, OPENAI_API_KEY, OLLAMA_HOST, PHALLAMA_TEST_MODEL, PHALLAMA_TEST_VECTORS.
Meaning is never asserted: the model is small. Protocol, counts and shapes are.
"""

import json
import os
import unittest

import ollama
import openai

MODEL = os.environ["PHALLAMA_TEST_MODEL"]
VECTORS = os.environ["PHALLAMA_TEST_VECTORS"]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a day.",
            "parameters": {
                "type": "object",
                "properties": {"day": {"type": "string", "enum": ["today", "tomorrow"]}},
                "required": ["day"],
                "additionalProperties": False,
            },
        },
    }
]
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

    def test_several_choices_are_counted_together(self):
        def ask(**more):
            return self.client.chat.completions.create(
                model=MODEL, messages=MESSAGES, max_tokens=6, n=2, seed=3, temperature=1, **more
            )

        whole = ask()
        self.assertEqual([choice.index for choice in whole.choices], [0, 1])
        self.assertGreater(whole.usage.completion_tokens, 6)
        texts, finishes = ["", ""], []
        for chunk in ask(stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                finishes += [choice.index] if choice.finish_reason else []
        self.assertEqual(finishes, [0, 1])
        self.assertEqual(texts, [choice.message.content for choice in whole.choices])

    def test_second_turn_finds_the_first_in_the_cache(self):
        def ask(messages):
            return self.client.chat.completions.create(
                model=MODEL, messages=messages, max_tokens=8, temperature=0
            )

        question = [{"role": "user", "content": "Name ten rivers, ten lakes and ten seas, please."}]
        first = ask(question)
        said = first.choices[0].message.model_dump()
        second = ask(question + [said, {"role": "user", "content": "Go on."}])
        cached = second.usage.prompt_tokens_details.cached_tokens
        self.assertGreater(cached, first.usage.prompt_tokens // 2)
        self.assertLess(cached, second.usage.prompt_tokens)

    def test_required_tool_is_called_within_its_schema(self):
        for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
            answer = self.client.chat.completions.create(
                model=MODEL, messages=MESSAGES, max_tokens=64, tools=TOOLS, tool_choice=choice
            )
            self.assertEqual(answer.choices[0].finish_reason, "tool_calls")
            call = answer.choices[0].message.tool_calls[0]
            self.assertEqual(call.function.name, "weather")
            self.assertIn(json.loads(call.function.arguments)["day"], ("today", "tomorrow"))

    def test_tools_left_to_a_model_that_knows_none_are_refused(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=TOOLS)
        self.assertEqual(caught.exception.code, "not_supported")

    def test_logprobs_of_chat_and_completion(self):
        chat = self.client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=3, logprobs=True, top_logprobs=2
        )
        tokens = chat.choices[0].logprobs.content
        self.assertEqual([len(token.top_logprobs) for token in tokens], [2] * len(tokens))
        completion = self.client.completions.create(
            model=MODEL, prompt="One two three", max_tokens=3, logprobs=2, temperature=0
        )
        self.assertEqual(len(completion.choices[0].logprobs.tokens), 3)

    def test_completion_streams_and_is_the_same_whole(self):
        def ask(**more):
            return self.client.completions.create(
                model=MODEL, prompt="Once upon a time", max_tokens=8, temperature=0, **more
            )

        text = "".join(chunk.choices[0].text for chunk in ask(stream=True) if chunk.choices)
        self.assertEqual(text, ask().choices[0].text)

    def test_grammar_is_obeyed(self):
        answer = self.client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=9,
            extra_body={"grammar": 'root ::= ("yes" | "no") "!"'},
        )
        self.assertIn(answer.choices[0].message.content, ("yes!", "no!"))

    def test_embeddings_in_both_encodings(self):
        # The package asks for base64 unless told otherwise.
        made = self.client.embeddings.create(model=VECTORS, input=["llamas graze", "tides"])
        self.assertEqual([entry.index for entry in made.data], [0, 1])
        self.assertAlmostEqual(sum(x * x for x in made.data[0].embedding), 1, places=3)
        self.assertGreater(made.usage.prompt_tokens, 2)
        plain = self.client.embeddings.create(
            model=VECTORS, input="llamas graze", encoding_format="float", dimensions=64
        )
        self.assertEqual(len(plain.data[0].embedding), 64)
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.embeddings.create(model=MODEL, input="a")
        self.assertEqual(caught.exception.code, "not_supported")

    def test_tokens_of_a_text_and_back(self):
        def post(path, body):
            return self.client.with_options(base_url=os.environ["OLLAMA_HOST"]).post(
                path, body={"model": MODEL, **body}, cast_to=object
            )

        tokens = post("/tokenize", {"content": "Hello, llamas."})["tokens"]
        self.assertEqual(post("/detokenize", {"tokens": tokens})["content"], "Hello, llamas.")

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
        self.assertEqual(self.client.generate(MODEL, "", keep_alive=0).done_reason, "unload")

    def test_format_options_and_thinking_are_understood(self):
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
        answer = self.client.chat(
            MODEL, MESSAGES, format=schema, think=False, keep_alive="5m",
            options={"num_predict": 64, "num_ctx": 2048, "top_k": 40, "typical_p": 0.9,
                     "repeat_last_n": -1, "mirostat": 0, "stop": ["\n\n\n"]},
        )
        self.assertIsInstance(json.loads(answer.message.content)["ok"], bool)

    def test_embeddings_by_both_names(self):
        made = self.client.embed(VECTORS, ["llamas graze", "tides"])
        self.assertEqual(len(made.embeddings), 2)
        self.assertGreater(made.prompt_eval_count, 2)
        older = self.client.embeddings(VECTORS, "llamas graze")
        for one, other in zip(older.embedding, made.embeddings[0], strict=True):
            self.assertAlmostEqual(one, other, places=4)

    def test_fill_in_is_refused_by_a_model_that_cannot(self):
        with self.assertRaises(ollama.ResponseError) as caught:
            self.client.generate(MODEL, "a", suffix="b", options={"num_predict": 4})
        self.assertEqual(caught.exception.status_code, 400)

    def test_unknown_model_is_not_found(self):
        with self.assertRaises(ollama.ResponseError) as caught:
            self.client.chat("no-such-model", MESSAGES)
        self.assertEqual(caught.exception.status_code, 404)
        self.assertIn(MODEL, caught.exception.error)


if __name__ == "__main__":
    unittest.main()
