"""What the real clients make of failures: always an exception, never a short answer that looks whole.

The worker behind the pod is the scripted one; the last user message is its script.
"""

import os
import unittest

import ollama
import openai

MODEL = os.environ["PHALLAMA_TEST_MODEL"]


def script(text):
    return [{"role": "user", "content": text}]


class TruncatedStream(unittest.TestCase):
    """The worker breaks off after three tokens."""

    def test_openai_stream_raises(self):
        client = openai.OpenAI(max_retries=0)
        # Before the first token was told, a failure has a status of its own.
        with self.assertRaises(openai.APIError) as caught:
            list(client.chat.completions.create(
                model=MODEL, messages=script("eof 3"), max_tokens=64, stream=True
            ))
        self.assertEqual(caught.exception.code, "worker_failed")

    def test_openai_whole_raises(self):
        client = openai.OpenAI(max_retries=0)
        with self.assertRaises(openai.APIStatusError) as caught:
            client.chat.completions.create(model=MODEL, messages=script("eof 3"), max_tokens=64)
        self.assertEqual(caught.exception.status_code, 502)
        self.assertEqual(caught.exception.code, "worker_failed")

    def test_ollama_stream_raises(self):
        with self.assertRaises(ollama.ResponseError):
            list(ollama.Client().chat(MODEL, script("eof 3"), stream=True))

    def test_ollama_whole_raises(self):
        with self.assertRaises(ollama.ResponseError) as caught:
            ollama.Client().chat(MODEL, script("eof 3"))
        self.assertEqual(caught.exception.status_code, 502)


if __name__ == "__main__":
    unittest.main()
