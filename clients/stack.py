"""One whole deployment, made of the commands that a person would type.

An embedded chain, a pod with a real model, a pod with the scripted worker for what a small model cannot do, a
wallet with money, and `phallama serve` between them and the clients.
"""

import os
import pathlib
import re
import subprocess
import tempfile
import threading

REPO = pathlib.Path(__file__).resolve().parent.parent
START_MAX_S = 180

MODEL = "smollm2:135m"
VECTORS = "smollm2:vectors"
SCRIPTED = "scripted"

# Name, longest answer, and what else the configuration says. Suites that insist on a model's name get it; the
# weights behind a name of the real pod are always SmolLM2's. Answers of other names are short for the clock's sake.
REAL = [
    (MODEL, 256, {}),
    (VECTORS, 1, {"embeddings": "mean"}),
    ("gpt-6-astra", 24, {"lazy": True}),
    ("text-embedding-3-small", 1, {"embeddings": "mean", "lazy": True}),
]
SEEING = {"projector": "vectors/gguf/tiny.gguf"}
PLAYED = [
    (SCRIPTED, 1024, SEEING),
    ("llama3.1", 1024, SEEING),
    ("gpt-oss:20b", 1024, {"lazy": True}),
    ("deepseek-r1:1.5b", 1024, {"lazy": True}),
]


class Failed(Exception):
    """A part of the deployment did not start; says what it printed."""


class Process:
    """A command that stays up, and what it has printed so far."""

    def __init__(self, command, env):
        self.command = command
        self.output = []
        self.grown = threading.Condition()
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=REPO,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            with self.grown:
                self.output.append(line)
                self.grown.notify_all()
        with self.grown:
            self.output.append("")
            self.grown.notify_all()

    def wait_for(self, pattern):
        """Waits for a line that matches and returns the match."""
        found = lambda: re.search(pattern, "".join(self.output), re.MULTILINE)
        ended = lambda: self.output and self.output[-1] == ""
        with self.grown:
            self.grown.wait_for(lambda: found() or ended(), timeout=START_MAX_S)
            match = found()
        if not match:
            raise Failed(f"{self.command} did not say {pattern!r}; it said:\n" + "".join(self.output))
        return match

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Stack:
    """The deployment, for as long as the `with` block runs."""

    def __init__(self, model, worker, real=(), played=()):
        """`real` and `played` are models beside those that every deployment has."""
        self.model, self.worker = model, worker
        self.real, self.played = [*REAL, *real], [*PLAYED, *played]
        self.folder = tempfile.TemporaryDirectory(prefix="phallama-clients-")
        self.home = pathlib.Path(self.folder.name)
        self.programs = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target")) / "debug"
        self.running = []

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            process.stop()
        self.folder.cleanup()

    def _start(self):
        user, player = self.home / "user", self.home / "player"
        player.mkdir()
        self._up(user, "chain", "up", "--listen", "127.0.0.1:0").wait_for("^Written to")
        chain = (user / "config.toml").read_text().split("[trust]")[0]
        (self.home / "password").write_text("clients\n")
        self._run(user, "wallet", "new")
        self._run(user, "deposit", "50", "--yes")
        configure(user, self.real, self.model)
        (player / "config.toml").write_text(chain)
        configure(player, self.played, REPO / "vectors/gguf/tiny.gguf")
        played = self.programs / "phallama-fake-worker"
        # The account that pays for the deposit has nothing else to do.
        key = user / "dev-owner.key"
        pods = [
            self._up(user, "pod", "up", "--worker", self.worker, "--listen", "127.0.0.1:0", "--slots", "2"),
            self._up(player, "pod", "up", "--worker", played, "--listen", "127.0.0.1:0",
                     "--operator-key-file", key),
        ]
        for pod in pods:
            pod.wait_for("^URL +http")
        enclave = [self.programs / "phallama-enclave", "--print-measurement"]
        measurement = subprocess.run(enclave, check=True, capture_output=True, text=True).stdout.strip()
        self._run(user, "trust", "approve", measurement)
        self.url = self.serve("127.0.0.1:0")

    def serve(self, listen):
        """Starts a local server for the user, and says where it is."""
        server = self._up(self.home / "user", "serve", "--listen", listen)
        return server.wait_for(r"^Ollama +(http://\S+)")[1]

    def phallama(self, *arguments, **variables):
        """What a command of the user prints; it finds the local server as if by its configuration."""
        listen = self.url.removeprefix("http://")
        return self._run(self.home / "user", *arguments, PHALLAMA_SERVE__LISTEN=listen, **variables)

    def _env(self, home):
        return {
            **os.environ,
            "PHALLAMA_HOME": str(home),
            "PHALLAMA_PASSWORD_FILE": str(self.home / "password"),
            "PHALLAMA_DANGER_ACCEPT_SIMULATED_TEE": "true",
            "NO_COLOR": "1",
        }

    def _command(self, arguments):
        return [str(self.programs / "phallama"), *map(str, arguments)]

    def _run(self, home, *arguments, **variables):
        command, env = self._command(arguments), {**self._env(home), **variables}
        done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=REPO)
        if done.returncode:
            raise Failed(f"{command} ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _up(self, home, *arguments):
        env = self._env(home)
        # The configuration names the models.
        env.pop("PHALLAMA_MODEL", None)
        process = Process(self._command(arguments), env)
        self.running.append(process)
        return process


def configure(home, models, weights):
    """Adds `[[pod.models]]` to a configuration, as an operator would."""
    lines = []
    for name, max_output, more in models:
        settings = {
            "model": str(weights), "name": name, "input_price": "0.10", "output_price": "0.40",
            "context": 512 if "embeddings" in more else 4096, "max_output": max_output, **more,
        }
        lines.append("\n[[pod.models]]")
        lines += [f"{key} = {toml(value)}" for key, value in settings.items()]
    with (home / "config.toml").open("a") as file:
        file.write("\n".join(lines) + "\n")


def toml(value):
    return str(value).lower() if isinstance(value, (bool, int)) else f'"{value}"'
