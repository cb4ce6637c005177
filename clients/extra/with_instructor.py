import os

import openai
from pydantic import BaseModel

import instructor


class Place(BaseModel):
    name: str


for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(openai.OpenAI(), mode=mode)
    place = client.chat.completions.create(
        model=os.environ["PHALLAMA_TEST_SCRIPTED"], response_model=Place,
        messages=[{"role": "user", "content": "Go to Boston"}],
    )
    assert place.name == "Boston", (mode, place)
