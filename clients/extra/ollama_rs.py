"""The crate ollama-rs, by the tests that it is published with.

They ask 127.0.0.1:11434 and nothing else, so that address must be free. Two things of them are changed: a pod's model
either answers or embeds, so the tests of embeddings ask for another model than those of answers; and the picture comes
from this machine.
"""

import base64
import contextlib
import functools
import http.server
import pathlib
import re
import shutil
import tempfile
import threading

import installed
from stack import SEEING, VECTORS
from suites import Suite

VERSION = "0.3.6"
SHA256 = "fed8739c37da731774bd5b39209bbd9b770f0c1d9a000c4b859c824badac3e8e"
LISTEN = "127.0.0.1:11434"
ANSWERS = "llama2:latest"
PICTURE = r'(?<=const IMAGE_URL: &str = ")[^"]+'
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

# Models as the tests want them.
REAL = [(ANSWERS, 64, {"lazy": True}), ("gpt-oss:latest", 64, {"lazy": True})]
PLAYED = [("llava:latest", 1024, {**SEEING, "lazy": True})]

TESTS = [
    "list_local_models", "generation", "generation_logprobs", "chat_structured_json", "send_chat_messages",
    "chat_history_management", "embeddings_generation", "show_model_info",
]


@contextlib.contextmanager
def suite():
    """The suite, while the picture can be had."""
    source = installed.crate_source("ollama-rs", VERSION, SHA256)
    changed = source.with_name("changed")
    shutil.copytree(source, changed, dirs_exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "picture.png").write_bytes(base64.b64decode(PIXEL))
        handler = functools.partial(Silent, directory=folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_port}/picture.png"
            change(changed / "tests/embeddings_generation.rs", re.escape(ANSWERS), VECTORS)
            change(changed / "tests/generation.rs", PICTURE, url)
            change(changed / "tests/send_chat_messages.rs", PICTURE, url)
            try:
                yield Suite(
                    "ollama-rs", "the crate ollama-rs, by its own tests", [], [command()], str(changed),
                    env={"OLLAMA_RS_TEST_MODEL": ANSWERS, "CARGO_PROFILE_DEV_DEBUG": "0"},
                )
            finally:
                server.shutdown()


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def change(path, pattern, after):
    text, count = re.subn(pattern, after, path.read_text())
    assert count, f"{path} has nothing like {pattern}"
    path.write_text(text)


def command():
    tests = [word for test in TESTS for word in ("--test", test)]
    features = ["--no-default-features", "--features", "rustls,stream,modelfile"]
    return ["cargo", "test", "--quiet", "--locked", *features, "--target-dir", "{target}/clients-extra",
            "--no-fail-fast", *tests, "--", "--format=pretty"]
