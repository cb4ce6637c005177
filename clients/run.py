#!/usr/bin/env python3
"""Runs real clients, by their own tests and by ours, against one whole deployment, and prints a table.

    clients/run.py                 every suite
    clients/run.py llm litellm     those named; --list names them

Needs what `tools/setup.sh clients litellm client-suites` installs, and the programs built (`cargo build --workspace --bins`).
A failure counts unless it is listed in `clients/allowed/SUITE.txt` with a reason; a test listed there that passes, or
is not there, is an error too. Writes `target/clients.json`.
"""

import dataclasses
import fnmatch
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from stack import MODEL, REPO, SCRIPTED, VECTORS, Stack
from suites import SUITES

HERE = pathlib.Path(__file__).resolve().parent
SUITE_MAX_S = 600


@dataclasses.dataclass
class Outcome:
    """What came of a suite."""

    suite: str
    version: str
    passed: int = 0
    allowed: int = 0
    skipped: int = 0
    seconds: float = 0
    faults: list[str] = dataclasses.field(default_factory=list)


def set_up(part):
    """What the set-up has installed; it prints where."""
    done = subprocess.run([REPO / "tools/setup.sh", part], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def allowed(suite):
    """Patterns of test ids with the reason why they may fail: `ID  # REASON`."""
    path = HERE / "allowed" / f"{suite}.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    listed = {}
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        pattern, separator, reason = line.partition("  # ")
        if not separator or not reason.strip():
            sys.exit(f"error: {path}: `{line}` has no reason; write `ID  # REASON`")
        listed[pattern.strip()] = reason.strip()
    return listed


def versions(suite):
    """The pinned versions of a suite's packages."""
    if suite.name == "async-openai":
        text = (HERE / "rust/Cargo.toml").read_text()
        pinned = dict(re.findall(r'^([\w-]+) = \{ version = "=([^"]+)"', text, re.MULTILINE))
    elif suite.folder.endswith("/node"):
        pinned = json.loads((HERE / "node/package.json").read_text())["dependencies"]
    else:
        name = "requirements-litellm.txt" if suite.name == "litellm" else "requirements.txt"
        pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (HERE / "python" / name).read_text(), re.MULTILINE))
    return ", ".join(f"{package} {pinned[package]}" for package in suite.packages)


def run_command(suite, command, env, places, report):
    """Runs one command and returns its results by test id, or None if it did not get that far."""
    filled = [part.format(**places, report=report) for part in command]
    folder = suite.folder.format(**places)
    environment = {**env, "PHALLAMA_REPORT": str(report)}
    try:
        done = subprocess.run(
            filled, cwd=folder, env=environment, stdin=subprocess.DEVNULL, timeout=SUITE_MAX_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )
    except subprocess.TimeoutExpired:
        return None, f"it did not end within {SUITE_MAX_S} s"
    if report.exists():
        told = [json.loads(line) for line in report.read_text().splitlines()]
    else:
        told = told_by_libtest(done.stdout)
    results = {}
    for result in told:
        # A test that fails while it is torn down has failed, whatever its call came to.
        if results.get(result["id"], {}).get("outcome") != "failed":
            results[result["id"]] = result
    # 0: all passed, 1 (101 of cargo): some failed; anything else is no verdict of tests.
    if done.returncode not in (0, 1, 101) or not results:
        return None, f"it ended with code {done.returncode}:\n{done.stdout[-3000:]}"
    return results, ""


def told_by_libtest(output):
    """The results that Rust's tests print."""
    words = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}
    lines = re.findall(r"^test (\S+) \.\.\. (ok|FAILED|ignored)", output, re.MULTILINE)
    return [{"id": test, "outcome": words[word], "why": reason_of(output, test)} for test, word in lines]


def reason_of(output, test):
    found = re.search(rf"^---- {re.escape(test)} stdout ----\n(.*?)(?=^----|^failures:)", output, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def run_suite(suite, env, places, scratch):
    outcome = Outcome(suite.name, versions(suite))
    listed = allowed(suite.name)
    unused = set(listed)
    began = time.monotonic()
    for index, command in enumerate(suite.commands):
        report = scratch / f"{suite.name}-{index}.jsonl"
        environment = {**env, **suite.env, **suite.env_of.get(index, {})}
        results, problem = run_command(suite, command, environment, places, report)
        if results is None:
            outcome.faults.append(problem)
            continue
        for test, result in results.items():
            pattern = next((p for p in listed if matches(test, p)), None)
            judge(outcome, test, result, pattern, unused)
    if not outcome.faults:
        outcome.faults += [f"allowed, but no such test failed: {pattern}" for pattern in sorted(unused)]
    outcome.seconds = time.monotonic() - began
    return outcome


def matches(test, pattern):
    # Brackets in a test's id are parameters, not sets of characters.
    return fnmatch.fnmatchcase(test, pattern.replace("[", "[[]"))


def judge(outcome, test, result, pattern, unused):
    if result["outcome"] == "failed":
        if pattern is None:
            outcome.faults.append(f"{test}\n{result['why']}")
        else:
            outcome.allowed += 1
            unused.discard(pattern)
    elif result["outcome"] == "skipped":
        outcome.skipped += 1
    elif pattern is not None:
        outcome.faults.append(f"allowed to fail, but it passes: {test}")
    else:
        outcome.passed += 1


def environment(url, scratch):
    """What every suite is told, as a user would set it; and a home that is nobody's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OLLAMA_", "PHALLAMA_"))}
    (scratch / "home").mkdir()
    # Where Rust lives stays known.
    rust = {name: os.path.expanduser(default) for name, default in (("CARGO_HOME", "~/.cargo"), ("RUSTUP_HOME", "~/.rustup"))}
    return {
        **rust,
        **kept,
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "none",
        "OLLAMA_HOST": url,
        "TEST_API_BASE_URL": f"{url}/v1",
        "PHALLAMA_TEST_MODEL": MODEL,
        "PHALLAMA_TEST_VECTORS": VECTORS,
        "PHALLAMA_TEST_SCRIPTED": SCRIPTED,
        "HOME": str(scratch / "home"),
        "NO_PROXY": "*",
        "PYTHONPATH": str(HERE / "python"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LANGSMITH_TRACING": "false",
        "DO_NOT_TRACK": "1",
    }


def table(outcomes):
    rows = [("suite", "client", "passed", "allowed", "failed", "skipped", "s")]
    rows += [
        (o.suite, o.version, *map(str, (o.passed, o.allowed, len(o.faults), o.skipped)), f"{o.seconds:.0f}")
        for o in outcomes
    ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def main():
    names = sys.argv[1:]
    known = [suite.name for suite in SUITES]
    if names == ["--list"]:
        return print("\n".join(known))
    for name in names:
        if name not in known:
            sys.exit(f"error: no suite `{name}`; see clients/run.py --list")
    places = {"python": set_up("clients"), "litellm": set_up("litellm"), "sources": set_up("client-suites")}
    places["target"] = os.environ.get("CARGO_TARGET_DIR", REPO / "target")
    model = os.environ.get("PHALLAMA_MODEL") or set_up("model")
    worker = os.environ.get("PHALLAMA_LLAMA_SERVER") or set_up("llama-server")
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="phallama-suites-") as scratch, Stack(model, worker) as stack:
        scratch = pathlib.Path(scratch)
        env = environment(stack.url, scratch)
        for suite in SUITES:
            if names and suite.name not in names:
                continue
            print(f"clients: {suite.name}: {suite.what}", file=sys.stderr, flush=True)
            outcomes.append(run_suite(suite, env, places, scratch))
            for fault in outcomes[-1].faults:
                print(f"\nFAILED {suite.name}: {fault}", file=sys.stderr, flush=True)
    print(table(outcomes))
    failed = sum(len(outcome.faults) for outcome in outcomes)
    passed = sum(outcome.passed for outcome in outcomes)
    print(f"{passed} passed, {failed} failed, {sum(outcome.skipped for outcome in outcomes)} skipped")
    if not names:
        figures = {
            "clients.suites_passed": sum(not outcome.faults for outcome in outcomes),
            "clients.allowed_failures": sum(outcome.allowed for outcome in outcomes),
        }
        (REPO / "target/clients.json").write_text(json.dumps(figures) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
