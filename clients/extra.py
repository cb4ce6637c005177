#!/usr/bin/env python3
"""Frameworks and command lines that are too large for every check, one after another against one whole deployment.

    clients/extra.py                     all
    clients/extra.py aider instructor    those named; --list names them

Each gets an environment of its own in the cache, and has to answer as the scripted worker was told, or to finish its
script in `clients/extra/`. Prints what was seen to work.
"""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile

from run import environment, set_up
from stack import SCRIPTED, Stack

EXTRA = pathlib.Path(__file__).resolve().parent / "extra"
CLIENT_MAX_S = 300
SAY = "say hello there"


@dataclasses.dataclass
class Client:
    name: str
    packages: list[str]
    """A program of the environment with its arguments, or else the script of this name."""
    command: list[str] = dataclasses.field(default_factory=list)
    """What the program has to print."""
    expected: str = ""
    env: dict[str, str] = dataclasses.field(default_factory=dict)


CLIENTS = [
    Client("pydantic_ai", ["pydantic-ai-slim[openai]==2.68.0"]),
    Client("instructor", ["instructor==1.17.0", "openai==3.3.0"]),
    Client("smolagents", ["smolagents[openai]==1.26.0", "openai==3.57.0"]),
    Client("haystack", ["ollama-haystack==7.0.2", "haystack-ai==3.4.1"]),
    Client("llama_index", ["llama-index-llms-ollama==0.11.0", "llama-index-llms-openai-like==0.8.1"]),
    Client(
        "aider", ["aider-chat==0.86.2"],
        ["aider", "--model", f"openai/{SCRIPTED}", "--no-git", "--yes-always", "--no-analytics",
         "--no-check-update", "--no-show-model-warnings", "--no-pretty", "--no-fancy-input",
         "--map-tokens", "0", "--message", SAY],
        "hello there",
    ),
    Client(
        "shell_gpt", ["shell-gpt==1.5.1", "click==8.5.1"], ["sgpt", "--no-md", "--no-cache", SAY], "hello there",
        {"DEFAULT_MODEL": SCRIPTED, "USE_LITELLM": "false", "OPENAI_USE_FUNCTIONS": "false"},
    ),
]


def install(client):
    """The client's environment in the cache, made when it is not there."""
    cache = os.environ.get("PHALLAMA_CACHE") or pathlib.Path(
        os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    ) / "phallama"
    key = "-".join(client.packages).replace("/", "_").replace("[", "_").replace("]", "_")
    folder = pathlib.Path(cache) / "extra" / key
    if not (folder / "done").exists():
        print(f"extra: installing {', '.join(client.packages)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        uv = [pathlib.Path(cache) / "pip/bin/uv", "pip", "install", "-q", "--python", folder / "bin/python"]
        subprocess.run([*uv, *client.packages], check=True)
        (folder / "done").touch()
    return folder / "bin"


def run(client, env, scratch):
    """Why it did not work, or nothing."""
    programs = install(client)
    if client.command:
        command = [programs / client.command[0], *client.command[1:]]
    else:
        command = [programs / "python", EXTRA / f"with_{client.name}.py"]
    folder = scratch / client.name
    folder.mkdir()
    done = subprocess.run(
        command, cwd=folder, env={**env, **client.env}, stdin=subprocess.DEVNULL, timeout=CLIENT_MAX_S,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )
    works = done.returncode == 0 and client.expected in done.stdout
    return "" if works else f"it ended with code {done.returncode}:\n{done.stdout[-3000:]}"


def main():
    names = sys.argv[1:]
    if names == ["--list"]:
        return print("\n".join(client.name for client in CLIENTS))
    unknown = set(names) - {client.name for client in CLIENTS}
    if unknown:
        sys.exit(f"error: no client `{unknown.pop()}`; see clients/extra.py --list")
    # Brings what installs packages, too.
    set_up("clients")
    model = os.environ.get("PHALLAMA_MODEL") or set_up("model")
    worker = os.environ.get("PHALLAMA_LLAMA_SERVER") or set_up("llama-server")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="phallama-extra-") as scratch, Stack(model, worker) as stack:
        scratch = pathlib.Path(scratch)
        env = environment(stack.url, scratch)
        env |= {"OPENAI_API_BASE": f"{stack.url}/v1", "API_BASE_URL": f"{stack.url}/v1"}
        chosen = [client for client in CLIENTS if not names or client.name in names]
        for client in chosen:
            problem = run(client, env, scratch)
            failed += bool(problem)
            print(f"{client.name}: {problem or 'works'}  ({', '.join(client.packages)})", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
