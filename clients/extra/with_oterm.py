"""oterm's own program, with a driver in place of a terminal: a new chat with the model, and an answer in it.

oterm takes its Ollama from OLLAMA_HOST, without `http://`.
"""

import asyncio
import json
import os
import pathlib
import time

data = pathlib.Path("oterm").resolve()
data.mkdir()
(data / "config.json").write_text(json.dumps({"splash-screen": False}))
os.environ["OTERM_DATA_DIR"] = str(data)
os.environ["OLLAMA_HOST"] = os.environ["OLLAMA_HOST"].removeprefix("http://")

from oterm.app.oterm import app
from oterm.app.widgets.chat import ChatItem
from oterm.app.widgets.model_select import ModelSelect
from textual.css.query import NoMatches
from textual.widgets import Button

MODEL = os.environ["PHALLAMA_TEST_SCRIPTED"]
WITHIN_S = 60


async def until(pilot, holds, what):
    """Waits until something on the screen is so."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            if holds():
                return
        except NoMatches:
            pass
        assert time.monotonic() < deadline, f"oterm did not get to: {what}"
        await pilot.pause(0.1)


async def main():
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.is_running and app.screen is not None, "its first screen")
        await pilot.press("ctrl+n")
        offered = lambda: app.screen.query_one(ModelSelect)._options
        await until(pilot, lambda: MODEL in offered(), "the list of models")
        app.screen.query_one(ModelSelect).query_one("Input").focus()
        await pilot.press(*MODEL, "tab")
        await until(pilot, lambda: not app.screen.query_one("#save-btn", Button).disabled, "the model's facts")
        await pilot.click("#save-btn")
        await until(pilot, lambda: app.screen.query_one("#prompt").has_focus_within, "the prompt")
        await pilot.press(*"say hello there", "enter")
        texts = lambda: [item.text for item in app.screen.query(ChatItem)]
        await until(pilot, lambda: texts()[-1:] == ["hello there"], "the answer")


asyncio.run(main())
print("the model appears, and answers in a chat")
