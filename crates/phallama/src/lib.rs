//! The command line, and the local OpenAI- and Ollama-compatible server.
