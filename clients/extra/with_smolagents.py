import os

from smolagents import OpenAIServerModel


def model(name, **more):
    return OpenAIServerModel(model_id=name, api_base=os.environ["OPENAI_BASE_URL"], api_key="none", **more)


def ask(model, text):
    return model([{"role": "user", "content": [{"type": "text", "text": text}]}]).content


assert ask(model(os.environ["PHALLAMA_TEST_SCRIPTED"]), "say hello there") == "hello there"
assert ask(model(os.environ["PHALLAMA_TEST_MODEL"], max_tokens=8), "Hello")
