"""`litellm` as a library, by each API, and its proxy in front of the local server."""

import asyncio
import json
import os
import pathlib
import secrets
import socket
import subprocess
import sys
import time
import urllib.request

import litellm
import openai
import pytest

MODEL = os.environ["PHALLAMA_TEST_MODEL"]
VECTORS = os.environ["PHALLAMA_TEST_VECTORS"]
SCRIPTED = os.environ["PHALLAMA_TEST_SCRIPTED"]
V1, OLLAMA = os.environ["OPENAI_BASE_URL"], os.environ["OLLAMA_HOST"]
START_MAX_S = 120
# The proxy wants one that nobody guesses.
KEY = f"sk-{secrets.token_hex(32)}"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"],
        },
    },
}


def route(provider, model):
    base = V1 if provider == "openai" else OLLAMA
    return {"model": f"{provider}/{model}", "api_base": base, "api_key": "none", "num_retries": 0}


def user(content):
    return [{"role": "user", "content": content}]


CHATS = pytest.mark.parametrize("provider", ["openai", "ollama_chat"])


@pytest.mark.parametrize("provider", ["openai", "ollama_chat", "ollama"])
def test_a_whole_answer_has_usage(provider):
    answer = litellm.completion(**route(provider, MODEL), messages=user("Hello"), max_tokens=8)
    assert answer.choices[0].message.content
    assert 0 < answer.usage.completion_tokens <= 8


@CHATS
def test_a_stream_is_whole(provider):
    stream = litellm.completion(
        **route(provider, SCRIPTED), messages=user("say one two three"), stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "one two three"


@CHATS
def test_an_asynchronous_stream_is_whole(provider):
    async def read():
        stream = await litellm.acompletion(
            **route(provider, SCRIPTED), messages=user("say one two"), stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(read()) == "one two"


@CHATS
def test_a_function_is_called(provider):
    answer = litellm.completion(
        **route(provider, SCRIPTED), messages=user("How is it in Boston?"), tools=[TOOL]
    )
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"place": "Boston"}


@CHATS
def test_a_schema_is_obeyed(provider):
    schema = {"type": "object", "properties": {"wet": {"type": "boolean"}}, "required": ["wet"]}
    answer = litellm.completion(
        **route(provider, MODEL), messages=user("Is water wet? JSON."), max_tokens=48, temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    )
    assert isinstance(json.loads(answer.choices[0].message.content)["wet"], bool)


@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_texts_are_embedded(provider):
    made = litellm.embedding(**route(provider, VECTORS), input=["llamas", "tides"])
    assert len(made.data) == 2


@CHATS
def test_an_unknown_model_is_told(provider):
    with pytest.raises((litellm.NotFoundError, litellm.APIConnectionError)) as error:
        litellm.completion(**route(provider, "no-such-model"), messages=user("Hello"))
    assert "no-such-model" in str(error.value)


@CHATS
def test_a_stream_that_breaks_raises(provider):
    with pytest.raises((litellm.APIError, litellm.APIConnectionError, openai.APIError), match="broke off"):
        list(litellm.completion(**route(provider, SCRIPTED), messages=user("eof 3"), stream=True))


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """litellm's own server, which has our models by names of its own."""
    folder = tmp_path_factory.mktemp("litellm")
    named = [("real", "openai", MODEL), ("scripted", "ollama_chat", SCRIPTED), ("vectors", "openai", VECTORS)]
    models = [{"model_name": name, "litellm_params": route(api, model)} for name, api, model in named]
    settings = {"general_settings": {"master_key": KEY}, "model_list": models}
    (folder / "config.yaml").write_text(json.dumps(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = pathlib.Path(sys.executable).with_name("litellm")
    command = [program, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    limit = time.monotonic() + START_MAX_S
    while not is_up(port):
        assert process.poll() is None and time.monotonic() < limit, (folder / "log").read_text()[-4000:]
        time.sleep(0.2)
    yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0)
    process.terminate()
    process.wait(timeout=30)


def is_up(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5):
            return True
    except OSError:
        return False


def test_the_proxy_answers_whole_and_streamed(proxy):
    whole = proxy.chat.completions.create(model="real", messages=user("Hello"), max_tokens=8)
    assert whole.choices[0].message.content
    stream = proxy.chat.completions.create(model="scripted", messages=user("say one two"), stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == "one two"


def test_the_proxy_passes_calls_and_vectors(proxy):
    answer = proxy.chat.completions.create(
        model="scripted", messages=user("Is it wet in Boston?"), tools=[TOOL]
    )
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"
    made = proxy.embeddings.create(model="vectors", input="tides", encoding_format="float")
    assert len(made.data[0].embedding) > 8
