"""The real `openai` package loses its connection and tries again, as it does by itself.

The worker behind the pod is the scripted one; the last user message is its script. The receipts are
counted by who runs this: three questions are asked here, however often they are sent.
"""

import os
import unittest

import openai

MODEL = os.environ["PHALLAMA_TEST_MODEL"]
WORDS = "".join(f"t{number} " for number in range(30))


def ask(client, key, **more):
    return client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "slow 30 100"}],
        max_tokens=64,
        extra_headers={"Idempotency-Key": key},
        **more,
    )


class Retries(unittest.TestCase):
    def test_a_retry_after_a_timeout_gets_the_answer_of_the_first_attempt(self):
        # An answer takes three seconds, the client waits for one, and tries again by itself.
        impatient = openai.OpenAI(timeout=1, max_retries=8)
        answer = ask(impatient, "timeout")
        self.assertEqual(answer.choices[0].message.content, WORDS)
        self.assertEqual(answer.usage.completion_tokens, 30)

    def test_a_stream_that_was_dropped_is_told_from_its_beginning(self):
        client = openai.OpenAI(max_retries=0)
        stream = ask(client, "dropped", stream=True)
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
        stream.close()
        again = ask(client, "dropped", stream=True)
        text = "".join(c.choices[0].delta.content or "" for c in again if c.choices)
        self.assertEqual(text, WORDS)
        whole = ask(client, "dropped")
        self.assertEqual(whole.choices[0].message.content, WORDS)

    def test_a_key_stands_for_one_request(self):
        client = openai.OpenAI(max_retries=0)
        ask(client, "taken")
        with self.assertRaises(openai.BadRequestError) as caught:
            ask(client, "taken", temperature=0.5)
        self.assertIn("another request", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
