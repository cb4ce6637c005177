import os

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=os.environ["OPENAI_BASE_URL"], api_key="none")
model = OpenAIChatModel(os.environ["PHALLAMA_TEST_SCRIPTED"], provider=provider)


class Place(BaseModel):
    name: str


assert Agent(model, output_type=Place).run_sync("Go to Boston").output == Place(name="Boston")
agent, asked = Agent(model), []


@agent.tool_plain
def weather(place: str) -> str:
    """The weather of a place."""
    asked.append(place)
    return "sunny"


assert agent.run_sync("How is it in Boston?").output
assert asked == ["Boston"]
