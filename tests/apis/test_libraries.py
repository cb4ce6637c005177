"""The real `anthropic` package, and `openai` for its responses: streams, tools, failures.

Environment: PHALLAMA_TEST_URL, PHALLAMA_TEST_MODEL. The worker behind the pod is the scripted one; the
last user message is its script.
"""

import os
import unittest

import anthropic
import openai

URL = os.environ["PHALLAMA_TEST_URL"]
MODEL = os.environ["PHALLAMA_TEST_MODEL"]


def says(script):
    return [{"role": "user", "content": script}]


class Messages(unittest.TestCase):
    tool = {"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}}}

    def setUp(self):
        self.client = anthropic.Anthropic(base_url=URL, api_key="none", max_retries=0)

    def test_whole(self):
        answer = self.client.messages.create(model=MODEL, max_tokens=16, messages=says("say one two"))
        self.assertEqual([(b.type, b.text) for b in answer.content], [("text", "one two")])
        self.assertEqual((answer.stop_reason, answer.usage.output_tokens), ("end_turn", 2))

    def test_stream(self):
        with self.client.messages.stream(model=MODEL, max_tokens=16, messages=says("say one two")) as stream:
            texts = list(stream.text_stream)
            answer = stream.get_final_message()
        self.assertEqual("".join(texts), "one two")
        self.assertEqual(answer.content[0].text, "one two")
        self.assertEqual((answer.stop_reason, answer.usage.output_tokens), ("end_turn", 2))

    def test_stream_of_a_call_and_of_a_thought(self):
        with self.client.messages.stream(
            model=MODEL, max_tokens=16, messages=says("tool weather"), tools=[self.tool]
        ) as stream:
            answer = stream.get_final_message()
        call = answer.content[0]
        self.assertEqual((call.type, call.name, call.input), ("tool_use", "weather", {}))
        self.assertEqual(answer.stop_reason, "tool_use")
        with self.client.messages.stream(model=MODEL, max_tokens=16, messages=says("think hm")) as stream:
            answer = stream.get_final_message()
        self.assertEqual([b.type for b in answer.content], ["thinking", "text"])
        self.assertEqual(answer.content[0].thinking, "hm")

    def test_the_turn_after_a_call(self):
        call = {"type": "tool_use", "id": "c1", "name": "weather", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}
        messages = says("tool weather") + [
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result, {"type": "text", "text": "say fine"}]},
        ]
        answer = self.client.messages.create(model=MODEL, max_tokens=16, messages=messages, tools=[self.tool])
        self.assertEqual(answer.content[0].text, "fine")

    def test_count_and_models(self):
        count = self.client.messages.count_tokens(model=MODEL, messages=says("one two three"))
        self.assertEqual(count.input_tokens, 3)
        self.assertIn(MODEL, [model.id for model in self.client.models.list()])

    def test_failures(self):
        with self.assertRaises(anthropic.NotFoundError):
            self.client.messages.create(model="no-such-model", max_tokens=1, messages=says("hi"))
        with self.assertRaises(anthropic.BadRequestError):
            self.client.messages.create(
                model=MODEL, max_tokens=1, messages=says("hi"), extra_body={"temperature": 9}
            )
        with self.assertRaises(anthropic.APIError):
            with self.client.messages.stream(model=MODEL, max_tokens=16, messages=says("eof 3")) as stream:
                stream.get_final_message()


class Responses(unittest.TestCase):
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}

    def setUp(self):
        self.client = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0)

    def test_whole(self):
        answer = self.client.responses.create(model=MODEL, input="say one two", max_output_tokens=16)
        self.assertEqual((answer.output_text, answer.status), ("one two", "completed"))
        self.assertEqual(answer.usage.output_tokens, 2)

    def test_stream(self):
        with self.client.responses.stream(model=MODEL, input="say one two") as stream:
            events = list(stream)
            answer = stream.get_final_response()
        self.assertEqual(answer.output_text, "one two")
        self.assertEqual(events[0].type, "response.created")
        self.assertEqual(events[-1].type, "response.completed")
        numbers = [event.sequence_number for event in events if hasattr(event, "sequence_number")]
        self.assertEqual(numbers, sorted(numbers))

    def test_stream_of_a_call_and_the_turn_after(self):
        with self.client.responses.stream(model=MODEL, input="tool weather", tools=[self.tool]) as stream:
            call = stream.get_final_response().output[0]
        self.assertEqual((call.type, call.name, call.arguments), ("function_call", "weather", "{}"))
        items = [
            {"role": "user", "content": "tool weather"},
            call.model_dump(exclude_none=True, exclude={"parsed_arguments"}),
            {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
            {"role": "user", "content": "say fine"},
        ]
        answer = self.client.responses.create(model=MODEL, input=items, tools=[self.tool])
        self.assertEqual(answer.output_text, "fine")

    def test_a_thought_is_an_item(self):
        answer = self.client.responses.create(model=MODEL, input="think hm")
        self.assertEqual([item.type for item in answer.output], ["reasoning", "message"])
        self.assertEqual(answer.output[0].content[0].text, "hm")

    def test_failures(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.responses.create(model=MODEL, input="hi", previous_response_id="resp_1")
        self.assertEqual(caught.exception.param, "previous_response_id")
        stream = self.client.responses.create(model=MODEL, input="eof 3", stream=True)
        with self.assertRaises(openai.APIError) as caught:
            list(stream)
        self.assertEqual(caught.exception.code, "worker_failed")


if __name__ == "__main__":
    unittest.main()
