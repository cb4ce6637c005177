#!/usr/bin/env python3
"""Types what the pages tell a newcomer to type into a terminal, in an empty home, and takes the time.

Two walks: the README's, which makes a network on this machine, and that of somebody who joins a network which is
there. The commands are read from the pages, so that what is measured is what is written. Run it by tools/newcomer.sh,
which builds what it needs.
"""

import dataclasses
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import tomllib

REPO = pathlib.Path(__file__).resolve().parent.parent
README = REPO / "README.md"
GUIDE = REPO / "docs/guides/first-answer.md"
COLUMNS, LINES = 100, 40
COMMAND_MAX_S = 120
LEAVE_MAX_S = 30
# Of an answer in the guide.
ANSWER_LINES = 5
PASSWORD = "correct horse battery staple"
# What a person answers to each question. An empty answer is Enter: what stands in brackets.
ANSWERS = {
    "password of the user key: ": PASSWORD,
    "the same again: ": PASSWORD,
    "most per day (UTC) [10]: ": "",
    "most per request [1]: ": "",
    "accept simulated TEEs in this home? [y/N] ": "y",
    "approve it? [y/N] ": "y",
    "deposit now, in PTEST [5]: ": "",
    "deposit now, in PTEST: ": "5",
}
# When a command that stays is ready: what it says then.
READY = {"phallama chain up &": "The chain lives as long", "phallama pod up &": "Ctrl-C settles what is open"}
# The shell's prompt carries the last exit code where a terminal does not show it.
PROMPT = re.compile(rb"\x1b\]0;(\d+)\x07\$ ")


@dataclasses.dataclass
class Step:
    """One command, what came of it, and how long it took."""

    command: str
    seconds: float
    seen: str


def commands(page, name):
    """What the page tells to type between its marks, without comments."""
    marked = re.search(rf"<!-- {name}: begin -->\n```sh\n(.*?)```\n<!-- {name}: end -->", page.read_text(), re.S)
    if marked is None:
        sys.exit(f"error: {page} has no commands between the marks `{name}`")
    lines = (line.split("  #")[0].strip() for line in marked[1].splitlines())
    return [line for line in lines if line and not line.startswith("#")]


class Terminal:
    """A shell in a terminal, in a home where nothing is yet."""

    def __init__(self, home, folder):
        environment = {
            "HOME": str(home), "PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8",
            "PHALLAMA_CACHE": os.environ["PHALLAMA_CACHE"], "PS1": "\\[\\e]0;$?\\a\\]$ ",
            "COLUMNS": str(COLUMNS), "LINES": str(LINES), "HISTFILE": "",
        }
        for name in ("PHALLAMA_LLAMA_SERVER", "CARGO_TARGET_DIR"):
            if name in os.environ:
                environment[name] = os.environ[name]
        self.child, self.master = pty.fork()
        if self.child == 0:
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--noprofile", "--norc", "-i"], environment)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.read = b""
        self.await_prompt(0, "the shell")

    def type(self, text):
        os.write(self.master, text.encode() + b"\n")

    def more(self, what, until):
        """Waits for more to be read; fails when the time is over."""
        left = until - time.monotonic()
        if left <= 0 or not select.select([self.master], [], [], left)[0]:
            sys.exit(f"error: `{what}` was not done in {COMMAND_MAX_S} s; it said:\n{screen(self.read)}")
        try:
            self.read += os.read(self.master, 65536)
        except OSError:
            sys.exit(f"error: the shell ended during `{what}`; it said:\n{screen(self.read)}")

    def await_prompt(self, start, what):
        """Waits until the shell asks again, and answers questions meanwhile. Where the prompt begins, and the exit code."""
        until, answered = time.monotonic() + COMMAND_MAX_S, start
        while True:
            prompt = PROMPT.search(self.read, start)
            if prompt:
                return prompt.start(), int(prompt[1])
            for question, answer in ANSWERS.items():
                if self.read[answered:].endswith(question.encode()):
                    answered = len(self.read)
                    # Nobody types a password before the terminal hides it.
                    while answer == PASSWORD and termios.tcgetattr(self.master)[3] & termios.ECHO:
                        os.sched_yield()
                    self.type(answer)
            self.more(what, until)

    def await_words(self, start, words, what):
        until = time.monotonic() + COMMAND_MAX_S
        while words.encode() not in self.read[start:]:
            if re.search(rb"Exit \d+|error: ", self.read[start:]):
                sys.exit(f"error: `{what}` failed:\n{screen(self.read[start:])}")
            self.more(what, until)

    def step(self, command):
        start, began = len(self.read), time.monotonic()
        self.type(command)
        end, code = self.await_prompt(start, command)
        if command in READY:
            self.await_words(start, READY[command], command)
            end = len(self.read)
        if code != 0:
            sys.exit(f"error: `{command}` left with {code}:\n{screen(self.read[start:])}")
        seconds = time.monotonic() - began
        # What stays in the background talks into the prompt.
        return Step(command, seconds, screen(PROMPT.sub(b"", self.read[start:end])))

    def leave(self):
        """Ends what runs in the background, the last first, and the shell."""
        # Ctrl-C, for what may still be running in front.
        os.write(self.master, b"\x03")
        self.type("kill %2; wait %2; kill %1; wait %1; exit")
        until = time.monotonic() + LEAVE_MAX_S
        while time.monotonic() < until and select.select([self.master], [], [], LEAVE_MAX_S)[0]:
            try:
                self.read += os.read(self.master, 65536)
            except OSError:
                break
        os.kill(self.child, signal.SIGHUP)
        os.waitpid(self.child, 0)


def screen(raw):
    """What stands in the terminal in the end: progress that was overwritten is gone, colours too."""
    text = raw.decode(errors="replace")
    rows, row, column = [[]], 0, 0
    for escape, letter, char in re.findall(r"\x1b(?:\[([0-9;?]*)([A-Za-z])|\][^\x07]*\x07)|(.)", text, re.S):
        count = int(escape) if escape.isdigit() else 1
        if letter == "K":
            rows[row] = rows[row][:column] if escape in ("", "0") else []
        elif letter == "A":
            row = max(row - count, 0)
        elif letter == "B":
            row = min(row + count, len(rows) - 1)
        elif letter == "J":
            del rows[row + 1:]
            del rows[row][column:]
        elif letter == "G":
            column = count - 1
        elif char == "\r":
            column = 0
        elif char == "\n":
            row += 1
            if row == len(rows):
                rows.append([])
        elif char and char >= " ":
            if column == COLUMNS:
                row, column = row + 1, 0
                if row == len(rows):
                    rows.append([])
            rows[row].extend(" " * (column - len(rows[row])))
            rows[row][column:column + 1] = char
            column += 1
    return "\n".join("".join(line).rstrip() for line in rows)


def walk(terminal, typed):
    """Types the commands one after the other; the time runs until the end of the last one's answer."""
    began = time.monotonic()
    steps = [terminal.step(command) for command in typed]
    return steps, time.monotonic() - began


def publish(home, folder):
    """What somebody gets who is to join: the network's file, and a wallet with money."""
    config = tomllib.loads((home / ".config/phallama/config.toml").read_text())
    section = lambda name, table: [f"[{name}]"] + [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    lines = section("chain", config["chain"])
    for entry in config["trust"]["measurements"]:
        lines += section("[trust.measurements]", {**entry, "label": "phallama-enclave, published by the network"})
    (folder / "network.toml").write_text("\n".join(lines) + "\n")
    (folder / "owner.key").write_bytes((home / ".config/phallama/dev-owner.key").read_bytes())


def receipts(home):
    """Answers with an accepted receipt in this home."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))
    asked = [target / "debug/phallama", "--json", "receipts"]
    done = subprocess.run(asked, env={"HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return len(json.loads(done.stdout)["receipts"])


def show(title, steps, total):
    print(f"\n{title}\n")
    for step in steps:
        print(f"  {step.seconds:6.1f} s  {step.command}")
    print(f"  {total:6.1f} s  from the first command to the end of the first answer")


def shortened(text):
    """An answer is as long as the model likes; its beginning will do."""
    lines = text.splitlines()
    answer = max(index for index, line in enumerate(lines) if line.startswith("$ phallama run"))
    most = answer + 3 + ANSWER_LINES
    return text if len(lines) <= most else "\n".join([*lines[:most], "[… shortened here]"])


def transcript(steps, folder, home):
    """What was seen, for the guide. Places of this machine are called by what they are."""
    text = "\n".join(f"$ {step.seen.lstrip()}" for step in steps)
    text = shortened(text)
    target = os.environ.get("CARGO_TARGET_DIR", str(REPO / "target"))
    for place, called in ((str(home), "~"), (str(folder), "."), (target, "target"), (str(REPO), ".")):
        text = text.replace(place, called)
    return re.sub(r"\n{2,}", "\n\n", text).rstrip() + "\n"


def recorded(name, steps, folder, home):
    """Puts what was seen between the guide's marks."""
    marks = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = GUIDE.read_text().partition(marks[0])
    _, found, after = rest.partition(marks[1])
    if not found:
        sys.exit(f"error: {GUIDE} has no place for what was seen, `{marks[0]}`")
    seen = transcript(steps, folder, home)
    GUIDE.write_text(f"{before}{marks[0]}\n```text\n{seen}```\n{marks[1]}{after}")


def shown_in_guide(name):
    """The commands in the guide's recording."""
    seen = re.search(rf"<!-- {name}: begin -->\n```text\n(.*?)```\n", GUIDE.read_text(), re.S)
    return re.findall(r"^\$ (.*)$", seen[1], re.M) if seen else []


def main():
    record = "--record" in sys.argv[1:]
    alone, joining = commands(README, "newcomer"), commands(GUIDE, "joining")
    with tempfile.TemporaryDirectory(prefix="phallama-newcomer-") as made:
        places = {name: pathlib.Path(made, name) for name in ("first", "second", "folder")}
        for place in places.values():
            place.mkdir()
        first = Terminal(places["first"], REPO)
        try:
            steps, total = walk(first, alone)
            show("Everything on this machine (README.md):", steps, total)
            publish(places["first"], places["folder"])
            second = Terminal(places["second"], places["folder"])
            # Their programs are installed.
            second.step(f'eval "$({REPO}/tools/setup.sh env)"')
            joined, joined_total = walk(second, joining)
            show("Joining a network that is there (docs/guides/first-answer.md):", joined, joined_total)
            os.kill(second.child, signal.SIGHUP)
            answered = [receipts(places[name]) for name in ("first", "second")]
        finally:
            first.leave()
        if answered != [1, 1]:
            sys.exit(f"error: one receipt in each home expected, there are {answered}")
        if record:
            recorded("seen", steps, REPO, places["first"])
            recorded("seen-joining", joined, places["folder"], places["second"])
    for name, typed in (("seen", alone), ("seen-joining", joining)):
        if shown_in_guide(name) != typed:
            sys.exit(f"error: {GUIDE} shows other commands than are typed: {shown_in_guide(name)}; run tools/newcomer.sh --record")
    figures = {
        "newcomer.seconds_to_first_answer": round(total, 1), "newcomer.commands": len(alone),
        "newcomer.joining_seconds": round(joined_total, 1), "newcomer.joining_commands": len(joining),
    }
    (REPO / "target").mkdir(exist_ok=True)
    (REPO / "target/newcomer.json").write_text(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
