#!/usr/bin/env python3
"""Clients that are too large for every check, one after another against one whole deployment.

    clients/extra.py                     all
    clients/extra.py aider instructor    those named; --list names them

Each is installed in the cache, and has to answer as the scripted worker was told, or to finish its script in
`clients/extra/`. Those that `phallama launch` knows are run with nothing but what it wrote, in a home of their own: first
as they come, then with a local server that wants tokens. Prints what was seen to work.
"""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable

sys.path.append(str(pathlib.Path(__file__).resolve().parent / "extra"))

import installed
import ollama_rs
from run import environment, run_suite, set_up
from stack import SCRIPTED, Failed, Stack

EXTRA = pathlib.Path(__file__).resolve().parent / "extra"
CLIENT_MAX_S = 400
SAY = "say hello there"
# Its first words; what was asked is told by some of them, too.
SAID = r"^hello there\b"
# What would lead a client past its configuration.
MISLEADING = ("OPENAI_", "OLLAMA_", "API_BASE_URL", "XDG_", "CODEX_", "LLM_", "CONTINUE_", "OPENCODE", "AIDER_")


@dataclasses.dataclass
class Client:
    name: str
    packages: list[str]
    """A program with its arguments, or else the script of this name."""
    command: list[str] = dataclasses.field(default_factory=list)
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    install: Callable[[list[str]], pathlib.Path] = installed.python
    """What `phallama launch` calls it, if that writes its configuration."""
    launch: str = ""
    """Its configuration otherwise: files in its home; `{url}` is that of the local server."""
    files: dict[str, str] = dataclasses.field(default_factory=dict)


AIDER = ["--no-git", "--yes-always", "--no-analytics", "--no-check-update", "--no-show-model-warnings", "--no-pretty",
         "--no-fancy-input", "--map-tokens", "0", "--message", SAY]
AICHAT = f"""model: phallama:{SCRIPTED}
clients:
- type: openai-compatible
  name: phallama
  api_base: {{url}}/v1
  models:
  - name: {SCRIPTED}
"""
# The tests of the crate, which need an address of their own.
OLLAMA_RS = "ollama_rs"

CLIENTS = [
    Client("pydantic_ai", ["pydantic-ai-slim[openai]==2.68.0"]),
    Client("instructor", ["instructor==1.17.0", "openai==3.3.0"]),
    Client("smolagents", ["smolagents[openai]==1.26.0", "openai==3.57.0"]),
    Client("haystack", ["ollama-haystack==7.0.2", "haystack-ai==3.4.1"]),
    Client("llama_index", ["llama-index-llms-ollama==0.11.0", "llama-index-llms-openai-like==0.8.1"]),
    Client("aider", ["aider-chat==0.86.2"], ["aider", "--model", f"openai/{SCRIPTED}", *AIDER]),
    Client(
        "shell_gpt", ["shell-gpt==1.5.1", "click==8.5.1"], ["sgpt", "--no-md", "--no-cache", SAY],
        {"DEFAULT_MODEL": SCRIPTED, "USE_LITELLM": "false", "OPENAI_USE_FUNCTIONS": "false"},
    ),
    Client(
        "gptme", ["gptme==0.35.1"],
        ["gptme", "--non-interactive", "--tools", "none", "--model", f"local/{SCRIPTED}", SAY],
    ),
    Client("oterm", ["oterm==0.26.1"], env={"PYDANTIC_AI_NO_BANNER": "1"}),
    Client(
        "aichat", ["aichat@0.30.0"], ["aichat", SAY], install=installed.cargo,
        files={".config/aichat/config.yaml": AICHAT},
    ),
    Client("launch_aider", ["aider-chat==0.86.2"], ["aider", *AIDER], launch="aider"),
    Client("launch_llm", ["llm==0.36"], ["llm", "-m", f"phallama/{SCRIPTED}", SAY], launch="llm"),
    Client(
        "launch_codex", ["@openai/codex@0.169.0"],
        ["codex", "exec", "--profile", "phallama", "--skip-git-repo-check", SAY],
        install=installed.npm, launch="codex",
    ),
    Client(
        "launch_continue", ["@continuedev/cli@1.5.47"], ["cn", "-p", SAY], install=installed.npm, launch="continue",
    ),
    Client(
        "launch_opencode", ["opencode-ai@1.18.33"],
        ["opencode", "run", "--model", f"phallama/{SCRIPTED}", *SAY.split()],
        install=installed.npm, launch="opencode",
    ),
    Client("open_webui", ["open-webui==0.12.4"], launch="open-webui"),
]


def launched(client, stack, home):
    """Has `phallama launch` configure the client, and returns the variables that it told."""
    said = stack.phallama("launch", client.launch, "--model", SCRIPTED, HOME=str(home))
    return dict(re.findall(r"^export (\w+)=(.*)$", said, re.MULTILINE))


def run(client, stack, env, home):
    """Why it did not work, or nothing."""
    home.mkdir()
    env = {**env, "HOME": str(home)}
    if client.launch:
        env = {name: value for name, value in env.items() if not name.startswith(MISLEADING)}
        env |= launched(client, stack, home)
    for name, text in client.files.items():
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text(text.format(url=stack.url))
    programs = client.install(client.packages)
    if client.command:
        command = [programs / client.command[0], *client.command[1:]]
    else:
        command = [programs / "python", EXTRA / f"with_{client.name}.py"]
    folder = home / "work"
    folder.mkdir()
    done = subprocess.run(
        command, cwd=folder, env={**env, **client.env}, stdin=subprocess.DEVNULL, timeout=CLIENT_MAX_S,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )
    works = done.returncode == 0 and (not client.command or re.search(SAID, done.stdout, re.MULTILINE))
    return "" if works else f"it ended with code {done.returncode}:\n{done.stdout[-3000:]}"


def attempt(client, stack, env, home):
    try:
        return run(client, stack, env, home)
    except (Failed, subprocess.SubprocessError) as error:
        return str(error)


def lock(stack):
    """Has the local server want tokens, and sees that it does."""
    stack.phallama("token", "create", "somebody-else")
    try:
        urllib.request.urlopen(f"{stack.url}/api/tags", timeout=10)
    except urllib.error.HTTPError as error:
        assert error.code == 401, error
        return
    raise AssertionError("the local server wants no token")


def tests_of_ollama_rs(stack, env, scratch):
    """What failed of the crate's own tests that is not allowed to."""
    places = {"target": os.environ.get("CARGO_TARGET_DIR", EXTRA.parent.parent / "target")}
    try:
        # A taken port of Ollama's makes the local server go elsewhere.
        is_there = stack.serve(ollama_rs.LISTEN) == f"http://{ollama_rs.LISTEN}"
    except Failed:
        is_there = False
    if not is_there:
        return f"{ollama_rs.LISTEN} is taken, and the crate's tests ask nobody else"
    with ollama_rs.suite() as suite:
        outcome = run_suite(suite, env, places, scratch)
    print(f"{OLLAMA_RS}: {outcome.passed} tests passed, {outcome.allowed} are allowed to fail")
    return "\n".join(outcome.faults)


def main():
    names = sys.argv[1:]
    known = [client.name for client in CLIENTS] + [OLLAMA_RS]
    if names == ["--list"]:
        return print("\n".join(known))
    unknown = set(names) - set(known)
    if unknown:
        sys.exit(f"error: no client `{unknown.pop()}`; see clients/extra.py --list")
    # Brings what installs packages, too, and the browser.
    set_up("clients")
    set_up("web")
    model = os.environ.get("PHALLAMA_MODEL") or set_up("model")
    worker = os.environ.get("PHALLAMA_LLAMA_SERVER") or set_up("llama-server")
    chosen = [client for client in CLIENTS if not names or client.name in names]
    results = []

    def tell(name, problem, packages):
        results.append(not problem)
        print(f"{name}: {problem or 'works'}  ({', '.join(packages)})", flush=True)

    deployment = Stack(model, worker, ollama_rs.REAL, ollama_rs.PLAYED)
    with tempfile.TemporaryDirectory(prefix="phallama-extra-", ignore_cleanup_errors=True) as scratch, deployment as stack:
        scratch = pathlib.Path(scratch)
        env = environment(stack.url, scratch)
        env |= {"OPENAI_API_BASE": f"{stack.url}/v1", "API_BASE_URL": f"{stack.url}/v1"}
        for client in chosen:
            tell(client.name, attempt(client, stack, env, scratch / client.name), client.packages)
        if not names or OLLAMA_RS in names:
            tell(OLLAMA_RS, tests_of_ollama_rs(stack, env, scratch), [f"ollama-rs@{ollama_rs.VERSION}"])
        launchers = [client for client in chosen if client.launch]
        if launchers:
            lock(stack)
        for client in launchers:
            home = scratch / f"{client.name}_with_token"
            tell(f"{client.name}, with a token", attempt(client, stack, env, home), client.packages)
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
