//! Embeddings and tokens: answers that come in one piece.

use std::fmt;

use serde::Deserialize;

use crate::EngineError;

/// One vector for each input.
#[derive(Clone, PartialEq)]
pub struct Embeddings {
    /// In the order of the inputs.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all inputs together.
    pub prompt_tokens: u32,
}

impl fmt::Debug for Embeddings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embeddings({} vectors, {} tokens)", self.vectors.len(), self.prompt_tokens)
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Entry>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Entry {
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u32,
}

impl Embeddings {
    /// Reads the worker's answer to `count` inputs.
    pub(crate) fn read(body: &[u8], count: usize) -> Result<Self, EngineError> {
        let unreadable = EngineError::Protocol { what: "embeddings that cannot be read" };
        let Answer { mut data, usage } = serde_json::from_slice(body).map_err(|_| unreadable)?;
        data.sort_by_key(|entry| entry.index);
        let numbered = data.iter().map(|entry| entry.index).eq(0..count);
        let full = data.iter().all(|entry| !entry.embedding.is_empty());
        if !numbered || !full {
            return Err(EngineError::Protocol { what: "embeddings of other inputs" });
        }
        let vectors = data.into_iter().map(|entry| entry.embedding).collect();
        Ok(Self { vectors, prompt_tokens: usage.prompt_tokens })
    }

    /// Reads Ollama's answer to `count` inputs.
    pub(crate) fn read_ollama(body: &[u8], count: usize) -> Result<Self, EngineError> {
        #[derive(Deserialize)]
        struct Answer {
            embeddings: Vec<Vec<f32>>,
            prompt_eval_count: u32,
        }
        let unreadable = EngineError::Protocol { what: "embeddings that cannot be read" };
        let Answer { embeddings: vectors, prompt_eval_count: prompt_tokens } =
            serde_json::from_slice(body).map_err(|_| unreadable)?;
        if vectors.len() != count || vectors.iter().any(Vec::is_empty) {
            return Err(EngineError::Protocol { what: "embeddings of other inputs" });
        }
        Ok(Self { vectors, prompt_tokens })
    }

    pub(crate) fn append(&mut self, more: Self) {
        self.vectors.extend(more.vectors);
        self.prompt_tokens = self.prompt_tokens.saturating_add(more.prompt_tokens);
    }

    /// Cuts every vector to its first numbers, of length 1 again: models made for it (Matryoshka)
    /// keep most of the meaning there.
    ///
    /// # Errors
    /// [`EngineError::NotServed`] when the vectors are shorter.
    pub(crate) fn cut(&mut self, dimensions: usize) -> Result<(), EngineError> {
        if self.vectors.iter().any(|vector| vector.len() < dimensions) {
            let what = "the model's embeddings have fewer numbers than `dimensions` asks for";
            return Err(EngineError::NotServed { what });
        }
        for vector in &mut self.vectors {
            vector.truncate(dimensions);
            let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
            if length > 0.0 {
                for number in vector.iter_mut() {
                    *number /= length;
                }
            }
        }
        Ok(())
    }
}

/// Reads the worker's answer to `/tokenize`.
pub(crate) fn read_tokens(body: &[u8]) -> Result<Vec<u32>, EngineError> {
    #[derive(Deserialize)]
    struct Answer {
        tokens: Vec<u32>,
    }
    let unreadable = EngineError::Protocol { what: "tokens that cannot be read" };
    serde_json::from_slice(body).map(|answer: Answer| answer.tokens).map_err(|_| unreadable)
}

/// Reads the worker's answer to `/detokenize`.
pub(crate) fn read_text(body: &[u8]) -> Result<String, EngineError> {
    #[derive(Deserialize)]
    struct Answer {
        content: String,
    }
    let unreadable = EngineError::Protocol { what: "a text that cannot be read" };
    serde_json::from_slice(body).map(|answer: Answer| answer.content).map_err(|_| unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_in_the_order_of_their_inputs() {
        let body = br#"{"data":[{"index":1,"embedding":[0.5]},{"index":0,"embedding":[1,2]}],
                        "usage":{"prompt_tokens":7}}"#;
        let read = Embeddings::read(body, 2).unwrap();
        assert_eq!((read.vectors, read.prompt_tokens), (vec![vec![1.0, 2.0], vec![0.5]], 7));
        for (body, count) in [
            (r#"{"data":[{"index":0,"embedding":[1]}],"usage":{"prompt_tokens":7}}"#, 2),
            (r#"{"data":[{"index":1,"embedding":[1]}],"usage":{"prompt_tokens":7}}"#, 1),
            (r#"{"data":[{"index":0,"embedding":[]}],"usage":{"prompt_tokens":7}}"#, 1),
            (r#"{"data":[{"index":0,"embedding":["x"]}],"usage":{"prompt_tokens":7}}"#, 1),
            ("[]", 1),
        ] {
            let error = Embeddings::read(body.as_bytes(), count).unwrap_err();
            assert!(matches!(error, EngineError::Protocol { .. }), "{body}: {error}");
        }
    }

    #[test]
    fn shorter_vectors_have_length_one_again() {
        let mut embeddings = Embeddings { vectors: vec![vec![3.0, 4.0, 12.0]], prompt_tokens: 1 };
        embeddings.cut(2).unwrap();
        assert_eq!(embeddings.vectors, [[0.6, 0.8]]);
        let error = embeddings.cut(3).unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Request);
    }
}
