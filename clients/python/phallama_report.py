"""A pytest plugin: writes what came of each test, and answers for the network that a test machine has not.

PHALLAMA_REPORT names a file that gets one JSON object a line: id, outcome (passed, failed or skipped) and why.
"""

import json
import os
import struct
import zlib

import httpx
import pytest


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# 8 by 8 pixels, grey.
PICTURE = b"\x89PNG\r\n\x1a\n" + b"".join([
    chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)),
    chunk(b"IDAT", zlib.compress((b"\0" + b"\x80" * 8) * 8)),
    chunk(b"IEND", b""),
])


@pytest.fixture(autouse=True)
def pictures_without_a_network(monkeypatch):
    """Suites fetch the pictures that they ask about; every such picture is ours."""
    fetch = httpx.get

    def get(url, *arguments, **more):
        if str(url).endswith((".png", ".jpg", ".jpeg")):
            return httpx.Response(200, content=PICTURE, request=httpx.Request("GET", url))
        return fetch(url, *arguments, **more)

    monkeypatch.setattr(httpx, "get", get)


def pytest_runtest_logreport(report):
    # A test has three phases; one that passed is told once, by its call.
    if report.passed and report.when != "call":
        return
    why = ""
    if report.skipped and isinstance(report.longrepr, tuple):
        why = report.longrepr[2]
    if report.failed:
        why = report.longreprtext[-4000:]
    result = {"id": report.nodeid, "outcome": report.outcome, "why": why}
    with open(os.environ["PHALLAMA_REPORT"], "a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
