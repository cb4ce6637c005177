"""The suites: what each runs, and with what."""

import dataclasses
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
SHARED = HERE.parent / "tests" / "clients"
PYTEST = ["-p", "phallama_report", "-p", "no:cacheprovider", "-o", "addopts=", "-q", "--tb=short", "--timeout=120"]


@dataclasses.dataclass
class Suite:
    """One client's tests. `{python}`, `{litellm}`, `{sources}` and `{target}` in a command stand for places."""

    name: str
    what: str
    """The packages under test, pinned in the requirements."""
    packages: list[str]
    commands: list[list[str]]
    folder: str = str(HERE)
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    """Environment of single commands, by their index."""
    env_of: dict[int, dict[str, str]] = dataclasses.field(default_factory=dict)


def pytest(*arguments, python="{python}"):
    return [python, "-m", "pytest", *PYTEST, *map(str, arguments)]


def node(file):
    return ["node", "--test", "--test-reporter", "./report.mjs", "--test-reporter-destination", "{report}", file]


def cargo(test):
    shared = ["--manifest-path", "rust/Cargo.toml", "--target-dir", "{target}/clients"]
    return ["cargo", "test", "--quiet", "--locked", *shared, "--test", test, "--", "--format=pretty"]


SCRIPTED = {"PHALLAMA_TEST_MODEL": "scripted"}
# LangChain keeps a client for all tests, so they share a loop.
MODE = ["-o", "asyncio_mode=auto"]
MODE += [f"-oasyncio_default_{kind}_loop_scope=session" for kind in ("test", "fixture")]

SUITES = [
    Suite(
        "openai-python", "the openai package, by our own tests", ["openai"],
        [
            pytest(SHARED / "test_answers.py", "-k", "OpenAi"),
            pytest(SHARED / "test_faults.py", "-k", "openai"),
            pytest("python/test_openai_package.py"),
        ],
        env_of={1: SCRIPTED},
    ),
    Suite(
        "openai-python-own", "the openai package, by its own tests", ["openai"],
        [pytest(
            "-o", "filterwarnings=", "tests/api_resources/test_models.py",
            "tests/api_resources/test_embeddings.py", "tests/api_resources/chat/test_completions.py",
            "-k", "create or test_models",
        )],
        folder="{sources}/openai-3.54.0",
    ),
    Suite(
        "ollama-python", "the ollama package, by our own tests", ["ollama"],
        [
            pytest(SHARED / "test_answers.py", "-k", "Ollama"),
            pytest(SHARED / "test_faults.py", "-k", "ollama"),
            pytest("python/test_ollama_package.py"),
        ],
        env_of={1: SCRIPTED},
    ),
    Suite(
        "langchain-ollama", "langchain-ollama, by its own tests", ["langchain-ollama", "langchain-tests"],
        [
            pytest(*MODE, "tests/integration_tests", "--ignore=tests/integration_tests/test_embeddings.py"),
            pytest(*MODE, "tests/integration_tests/test_embeddings.py"),
        ],
        folder="{sources}/langchain_ollama-1.1.0",
        env_of={0: {"OLLAMA_TEST_MODEL": "smollm2:135m"}, 1: {"OLLAMA_TEST_MODEL": "smollm2:vectors"}},
    ),
    Suite(
        "langchain-standard", "langchain-openai and langchain-ollama, by LangChain's standard tests",
        ["langchain-openai", "langchain-ollama", "langchain-tests"],
        [pytest(*MODE, "python/test_langchain_standard.py")],
    ),
    Suite("openai-node", "the npm package openai", ["openai"], [node("openai.test.mjs")], f"{HERE}/node"),
    Suite("ollama-node", "the npm package ollama", ["ollama"], [node("ollama.test.mjs")], f"{HERE}/node"),
    Suite(
        "ai-sdk", "the AI SDK", ["ai", "@ai-sdk/openai-compatible", "ollama-ai-provider-v2"],
        [node("ai.test.mjs")], f"{HERE}/node",
    ),
    Suite("async-openai", "the crate async-openai", ["async-openai"], [cargo("async_openai")]),
    Suite(
        "llm", "the llm command", ["llm", "llm-ollama"], [pytest("python/test_llm_command.py")]
    ),
    Suite(
        "litellm", "litellm, and its proxy", ["litellm"],
        [pytest("python/test_litellm.py", python="{litellm}")],
    ),
]
