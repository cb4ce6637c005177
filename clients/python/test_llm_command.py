"""The `llm` command with its Ollama plugin, and over /v1 as an OpenAI-compatible model."""

import json
import os
import subprocess
import sys
import tempfile

import pytest

FOLDER = tempfile.TemporaryDirectory(prefix="llm-")
os.environ["LLM_USER_PATH"] = FOLDER.name

from click.testing import CliRunner  # noqa: E402
from llm.cli import cli  # noqa: E402

MODEL = "ollama/" + os.environ["PHALLAMA_TEST_MODEL"]
VECTORS = "ollama/" + os.environ["PHALLAMA_TEST_VECTORS"]
SCRIPTED = "ollama/" + os.environ["PHALLAMA_TEST_SCRIPTED"]


@pytest.fixture(scope="module", autouse=True)
def models_over_v1():
    base = {"api_base": os.environ["OPENAI_BASE_URL"], "supports_schema": True, "supports_tools": True}
    named = [("real-v1", "PHALLAMA_TEST_MODEL"), ("scripted-v1", "PHALLAMA_TEST_SCRIPTED")]
    models = [{"model_id": name, "model_name": os.environ[model], **base} for name, model in named]
    with open(os.path.join(FOLDER.name, "extra-openai-models.yaml"), "w", encoding="utf-8") as file:
        # JSON is YAML.
        json.dump(models, file)
    yield
    FOLDER.cleanup()


def llm(*arguments):
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout.strip()


def test_models_are_listed():
    listed = llm("models")
    assert f"Ollama: {MODEL}" in listed
    assert "real-v1" in listed


@pytest.mark.parametrize("model", [MODEL, "real-v1"])
@pytest.mark.parametrize("more", [[], ["--no-stream"]], ids=["streamed", "whole"])
def test_a_prompt_is_answered(model, more):
    limit = "num_predict" if model == MODEL else "max_tokens"
    assert llm("-m", model, "-o", limit, "12", *more, "Hello there")


def test_a_prompt_from_stdin_is_answered():
    command = [sys.executable, "-m", "llm", "-m", SCRIPTED]
    done = subprocess.run(command, input="say from stdin", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "from stdin"


def test_a_conversation_goes_on():
    llm("-m", SCRIPTED, "say one")
    assert llm("-c", "say two") == "two"


@pytest.mark.parametrize("model", [MODEL, "real-v1", "scripted-v1"])
def test_a_schema_is_obeyed(model):
    answer = json.loads(llm("-m", model, "--schema", "age int", "How old is a dog of 3 years?"))
    assert isinstance(answer["age"], int)


@pytest.mark.parametrize("model", [SCRIPTED, "scripted-v1"])
def test_a_function_is_called(model):
    function = "def twice(number: int) -> int:\n    'Twice the number.'\n    return number * 2\n"
    called = llm("-m", model, "--functions", function, "--td", "What is twice 21?")
    assert called
    logged = json.loads(llm("logs", "list", "-n", "2", "--json"))
    results = [result["output"] for entry in logged for result in entry["tool_results"]]
    assert results == ["42"]


def test_a_text_is_embedded():
    assert len(json.loads(llm("embed", "-m", VECTORS, "-c", "tides"))) > 8
