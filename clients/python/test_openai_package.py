"""The `openai` package beyond tests/clients: parsed answers, streams of calls, pictures, aborts, responses."""

import asyncio
import base64
import json
import os
import time

import openai
import pytest
from phallama_report import PICTURE
from pydantic import BaseModel

MODEL = os.environ["PHALLAMA_TEST_MODEL"]
SCRIPTED = os.environ["PHALLAMA_TEST_SCRIPTED"]
STOP_MAX_S = 30
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}},
            "required": ["place"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Answer(BaseModel):
    wet: bool


class Place(BaseModel):
    """A place."""

    name: str


@pytest.fixture
def client():
    return openai.OpenAI(max_retries=0)


def user(content):
    return [{"role": "user", "content": content}]


def wet():
    return {
        "model": MODEL, "messages": user("Is water wet? Answer in JSON."), "max_tokens": 64,
        "temperature": 0, "response_format": Answer,
    }


def test_an_answer_is_parsed(client):
    parsed = client.chat.completions.parse(**wet())
    assert isinstance(parsed.choices[0].message.parsed, Answer)


def test_a_streamed_answer_is_parsed(client):
    with client.chat.completions.stream(**wet()) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.done" in kinds
    assert isinstance(final.choices[0].message.parsed, Answer)


def test_a_call_is_parsed(client):
    parsed = client.chat.completions.parse(
        model=SCRIPTED, messages=user("Go to Boston"), tools=[openai.pydantic_function_tool(Place)]
    )
    call = parsed.choices[0].message.tool_calls[0]
    assert call.function.parsed_arguments == Place(name="Boston")
    assert parsed.choices[0].finish_reason == "tool_calls"


def test_a_streamed_call_comes_with_name_id_and_arguments(client):
    stream = client.chat.completions.create(
        model=SCRIPTED, messages=user("How is it in Boston?"), tools=[WEATHER], stream=True
    )
    deltas = [chunk.choices[0].delta for chunk in stream if chunk.choices]
    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert calls[0].id and calls[0].function.name == "weather"
    arguments = "".join(call.function.arguments or "" for call in calls)
    assert json.loads(arguments) == {"place": "Boston"}


def test_a_call_and_its_result_make_an_answer(client):
    messages = user("How is it in Boston?")
    first = client.chat.completions.create(model=SCRIPTED, messages=messages, tools=[WEATHER])
    said = first.choices[0].message
    messages += [said, {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "sunny"}]
    second = client.chat.completions.create(model=SCRIPTED, messages=messages, tools=[WEATHER])
    assert second.choices[0].finish_reason == "stop"
    assert second.choices[0].message.content


def test_a_picture_is_understood_and_one_that_would_have_to_be_fetched_is_refused(client):
    def ask(url):
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "say seen"}]
        return client.chat.completions.create(model=SCRIPTED, messages=user(parts))

    data = base64.b64encode(PICTURE).decode()
    assert ask(f"data:image/png;base64,{data}").choices[0].message.content == "seen"
    with pytest.raises(openai.BadRequestError):
        ask("http://127.0.0.1/picture.png")


def test_reasoning_is_told_apart(client):
    stream = client.chat.completions.create(
        model=SCRIPTED, messages=user("think hard about it"), stream=True
    )
    deltas = [chunk.choices[0].delta for chunk in stream if chunk.choices]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert (thought, "".join(delta.content or "" for delta in deltas)) == ("hard about it", "done")


def test_characters_of_several_bytes_survive_a_stream(client):
    stream = client.chat.completions.create(model=SCRIPTED, messages=user("split"), stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == "žluťoučký 🦙"


def others_running(client):
    answer = client.chat.completions.create(model=SCRIPTED, messages=user("running"))
    return int(answer.choices[0].message.content)


def test_a_stream_that_is_closed_is_stopped_at_the_worker(client):
    stream = client.chat.completions.create(
        model=SCRIPTED, messages=user("slow 600 100"), stream=True
    )
    next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    assert others_running(client) == 1
    stream.close()
    limit = time.monotonic() + STOP_MAX_S
    while others_running(client) > 0:
        assert time.monotonic() < limit, "the worker still computes what nobody reads"


def test_several_at_once_get_their_own_answers():
    async def all_of_them():
        client = openai.AsyncOpenAI()
        asked = [
            client.chat.completions.create(model=SCRIPTED, messages=user(f"say number {number}"))
            for number in range(4)
        ]
        return [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]

    assert asyncio.run(all_of_them()) == [f"number {number}" for number in range(4)]


@pytest.mark.parametrize("script", ["eof 3", "error 3", "garbage", "done 3"])
def test_an_asynchronous_stream_that_breaks_raises(script):
    async def read():
        client = openai.AsyncOpenAI(max_retries=0)
        stream = await client.chat.completions.create(
            model=SCRIPTED, messages=user(script), stream=True
        )
        return [chunk async for chunk in stream]

    with pytest.raises(openai.APIError):
        asyncio.run(read())


def test_errors_have_their_classes_and_codes(client):
    with pytest.raises(openai.NotFoundError) as missing:
        client.with_options(base_url=f"{client.base_url}nothing/").models.list()
    assert missing.value.code == "unknown_endpoint"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model=SCRIPTED, messages=user("x"), top_p=7)
    assert wrong.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.embeddings.create(model="no-such-model", input="x")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")


def test_a_response_is_whole(client):
    response = client.responses.create(
        model=MODEL, instructions="Be brief.", input="What is the capital of France?",
        max_output_tokens=16, temperature=0,
    )
    assert response.output_text
    assert response.usage.input_tokens > 0
    assert 0 < response.usage.output_tokens <= 16


def test_a_response_is_streamed(client):
    with client.responses.stream(model=SCRIPTED, input="say one two three") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == "one two three"


def test_a_response_calls_functions(client):
    tool = {"type": "function", **WEATHER["function"]}
    response = client.responses.create(model=SCRIPTED, input="How is it in Boston?", tools=[tool])
    calls = [item for item in response.output if item.type == "function_call"]
    assert json.loads(calls[0].arguments) == {"place": "Boston"}


def test_a_response_is_parsed(client):
    parsed = client.responses.parse(model=SCRIPTED, input="Go to Boston", text_format=Place)
    assert parsed.output_parsed == Place(name="Boston")
