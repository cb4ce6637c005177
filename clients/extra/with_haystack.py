import os

from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack_integrations.components.generators.ollama import OllamaChatGenerator

parameters = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
weather = Tool("weather", "The weather of a place.", parameters, lambda place: "sunny")
url = os.environ["OLLAMA_HOST"]
generator = OllamaChatGenerator(os.environ["PHALLAMA_TEST_SCRIPTED"], url=url, tools=[weather])
reply = generator.run([ChatMessage.from_user("How is it in Boston?")])["replies"][0]
assert reply.tool_calls[0].arguments == {"place": "Boston"}
generator = OllamaChatGenerator(
    os.environ["PHALLAMA_TEST_MODEL"], url=url, generation_kwargs={"num_predict": 8}
)
assert generator.run([ChatMessage.from_user("Hello")])["replies"][0].text
