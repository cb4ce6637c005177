"""The `ollama` package beyond tests/clients: its asynchronous client, functions, pictures, what is refused."""

import asyncio
import os

import ollama
import pytest
from phallama_report import PICTURE

MODEL = os.environ["PHALLAMA_TEST_MODEL"]
VECTORS = os.environ["PHALLAMA_TEST_VECTORS"]
SCRIPTED = os.environ["PHALLAMA_TEST_SCRIPTED"]


def user(content, **more):
    return [{"role": "user", "content": content, **more}]


def add_two_numbers(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


def test_the_asynchronous_client_lists_shows_and_embeds():
    async def run():
        client = ollama.AsyncClient()
        assert MODEL in [model.model for model in (await client.list()).models]
        shown = await client.show(MODEL)
        assert "completion" in shown.capabilities
        assert any(key.endswith(".context_length") for key in shown.modelinfo)
        assert len((await client.embed(VECTORS, "tides")).embeddings) == 1

    asyncio.run(run())


def test_asynchronous_streams_end_once():
    async def run():
        client = ollama.AsyncClient()
        options = {"num_predict": 8, "temperature": 0}
        chat = await client.chat(MODEL, user("Hello"), stream=True, options=options)
        parts = [part async for part in chat]
        assert [part.done for part in parts].count(True) == 1
        assert 0 < parts[-1].eval_count <= 8
        made = await client.generate(MODEL, "Hello", stream=True, options=options)
        parts = [part async for part in made]
        assert parts[-1].done and "".join(part.response for part in parts)

    asyncio.run(run())


def test_running_models_are_told():
    assert isinstance(list(ollama.Client().ps().models), list)


def test_a_model_of_the_network_is_pulled_and_another_is_not():
    client = ollama.Client()
    assert client.pull(MODEL).status == "success"
    assert [step.status for step in client.pull(MODEL, stream=True)][-1] == "success"
    with pytest.raises(ollama.ResponseError):
        client.pull("no-such-model")


@pytest.mark.parametrize("stream", [False, True])
def test_a_python_function_is_called_and_its_result_makes_an_answer(stream):
    client = ollama.Client()
    messages = user("What is three plus one? Use 3 and 1.")

    def ask():
        answer = client.chat(SCRIPTED, messages, tools=[add_two_numbers], stream=stream)
        parts = list(answer) if stream else [answer]
        calls = [call for part in parts for call in part.message.tool_calls or []]
        return calls, "".join(part.message.content or "" for part in parts)

    calls, _ = ask()
    assert calls[0].function.name == "add_two_numbers"
    assert calls[0].function.arguments == {"a": 3, "b": 1}
    result = str(add_two_numbers(**calls[0].function.arguments))
    messages.append({"role": "assistant", "tool_calls": calls})
    messages.append({"role": "tool", "content": result, "tool_name": "add_two_numbers"})
    calls, text = ask()
    assert not calls and text


def test_a_picture_is_understood():
    answer = ollama.Client().chat(SCRIPTED, user("say seen", images=[PICTURE]))
    assert answer.message.content == "seen"
    made = ollama.Client().generate(SCRIPTED, "say seen", images=[PICTURE])
    assert made.response == "seen"


def test_thinking_is_told_apart():
    answer = ollama.Client().chat(SCRIPTED, user("think hard about it"), think=True)
    assert (answer.message.thinking, answer.message.content) == ("hard about it", "done")


@pytest.mark.parametrize("script", ["eof 3", "error 3", "garbage"])
def test_an_asynchronous_stream_that_breaks_raises(script):
    async def read():
        stream = await ollama.AsyncClient().chat(SCRIPTED, user(script), stream=True)
        return [part async for part in stream]

    with pytest.raises(ollama.ResponseError):
        asyncio.run(read())


@pytest.mark.parametrize("change", ["create", "copy", "delete", "push"])
def test_models_of_the_network_are_not_changed(change):
    client = ollama.Client()
    changes = {
        "create": lambda: client.create("mine", from_=MODEL),
        "copy": lambda: client.copy(MODEL, "mine"),
        "delete": lambda: client.delete(MODEL),
        "push": lambda: client.push(MODEL),
    }
    with pytest.raises(ollama.ResponseError) as refused:
        changes[change]()
    assert 400 <= refused.value.status_code < 600
    assert refused.value.error
