"""Open WebUI's own server, as a person starts it, with a browser before it.

Where the models are it takes from its variables. It fetches nothing, and makes no embeddings of its own.
"""

import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

WITHIN_S = 240


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until_healthy(server, url):
    deadline = time.monotonic() + WITHIN_S
    while True:
        assert server.poll() is None, "open-webui has ended"
        assert time.monotonic() < deadline, "open-webui does not get healthy"
        try:
            return urllib.request.urlopen(f"{url}/health", timeout=5).read()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)


port = free_port()
settings = {
    "DATA_DIR": str(pathlib.Path("data").resolve()), "WEBUI_AUTH": "false", "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1", "RAG_EMBEDDING_ENGINE": "ollama",
}
program = [pathlib.Path(sys.executable).parent / "open-webui", "serve", "--host", "127.0.0.1", "--port", str(port)]
with open("log", "w") as log:
    server = subprocess.Popen(program, env={**os.environ, **settings}, stdout=log, stderr=log)
try:
    url = f"http://127.0.0.1:{port}"
    until_healthy(server, url)
    script = pathlib.Path(__file__).with_name("open_webui.mjs")
    command = ["node", script, url, os.environ["PHALLAMA_TEST_SCRIPTED"]]
    subprocess.run(command, env={**os.environ, "PHALLAMA_PAGE": url}, check=True)
except (AssertionError, subprocess.CalledProcessError):
    print(pathlib.Path("log").read_text()[-2000:])
    raise
finally:
    server.terminate()
    server.wait(60)
