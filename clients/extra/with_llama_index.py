import os

from llama_index.llms.ollama import Ollama
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Place(BaseModel):
    name: str


llm = Ollama(
    model=os.environ["PHALLAMA_TEST_SCRIPTED"], base_url=os.environ["OLLAMA_HOST"], request_timeout=60
)
assert llm.complete("say hello there").text == "hello there"
assert "".join(part.delta for part in llm.stream_complete("say one two")) == "one two"
assert llm.as_structured_llm(Place).complete("Go to Boston").raw == Place(name="Boston")
over_v1 = OpenAILike(
    model=os.environ["PHALLAMA_TEST_MODEL"], api_base=os.environ["OPENAI_BASE_URL"], api_key="none",
    is_chat_model=True, max_tokens=8,
)
assert over_v1.complete("Hello").text
