"""LangChain's standard tests: `ChatOpenAI` and its embeddings over /v1, `ChatOllama` with the real model.

The scripted worker stands for a model with functions and pictures that ends what it begins. The real one is small: it
has neither, and does not end the strings of an object that may be of any length.
"""

import os
from typing import Any

from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

MODEL = os.environ["PHALLAMA_TEST_MODEL"]
VECTORS = os.environ["PHALLAMA_TEST_VECTORS"]
SCRIPTED = os.environ["PHALLAMA_TEST_SCRIPTED"]


class TestOpenAiScripted(ChatModelIntegrationTests):
    chat_model_class = ChatOpenAI
    chat_model_params = {"model": SCRIPTED, "max_retries": 0, "stream_usage": True}
    supports_json_mode = True
    supports_image_inputs = True


class RealModel(ChatModelIntegrationTests):
    has_tool_calling = False
    has_tool_choice = False
    has_structured_output = False


class TestOpenAiReal(RealModel):
    chat_model_class = ChatOpenAI
    chat_model_params = {"model": MODEL, "max_retries": 0, "max_tokens": 96, "stream_usage": True}


class TestOllamaReal(RealModel):
    chat_model_class = ChatOllama
    chat_model_params = {"model": MODEL, "num_predict": 96}


class TestOpenAiEmbeddings(EmbeddingsIntegrationTests):
    embeddings_class = OpenAIEmbeddings
    # Counting tokens would fetch OpenAI's vocabulary.
    embedding_model_params: dict[str, Any] = {"model": VECTORS, "check_embedding_ctx_length": False}


class TestOllamaEmbeddings(EmbeddingsIntegrationTests):
    embeddings_class = OllamaEmbeddings
    embedding_model_params: dict[str, Any] = {"model": VECTORS}
