//! Writes GGUF files of a few hundred bytes, right ones and wrong ones.
#![expect(clippy::cast_possible_truncation, reason = "small numbers of tests")]

/// A value as it is written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(u8),
    Text(Vec<u8>),
    Array(u32, Vec<Value>),
    /// A type's number and what follows it.
    Raw(u32, Vec<u8>),
}

pub(super) const U32: u32 = 4;
pub(super) const I32: u32 = 5;
pub(super) const F32: u32 = 6;
pub(super) const TEXT: u32 = 8;
pub(super) const ARRAY: u32 = 9;

/// A tensor; its data is zeros.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
    pub(super) kind: u32,
    pub(super) bytes: u64,
    /// Where the file says its data lies; where it does, when absent.
    pub(super) offset: Option<u64>,
}

/// A file. What is `None` is written as it should be.
#[derive(Clone, Debug)]
pub(super) struct Gguf {
    pub(super) magic: [u8; 4],
    pub(super) version: u32,
    pub(super) tensor_count: Option<u64>,
    pub(super) key_count: Option<u64>,
    pub(super) keys: Vec<(String, Value)>,
    pub(super) tensors: Vec<Tensor>,
    pub(super) alignment: u64,
    /// Bytes behind the last tensor's padding.
    pub(super) tail: usize,
}

pub(super) fn text(text: &str) -> Value {
    Value::Text(text.as_bytes().to_vec())
}

pub(super) fn texts(texts: &[&str]) -> Value {
    Value::Array(TEXT, texts.iter().map(|entry| text(entry)).collect())
}

fn tensor(name: &str, shape: &[u64], kind: u32, bytes: u64) -> Tensor {
    Tensor { name: name.to_owned(), shape: shape.to_vec(), kind, bytes, offset: None }
}

impl Gguf {
    /// A model of one layer and seven tokens that nothing is wrong with.
    pub(super) fn valid() -> Self {
        let floats = [0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0].map(Value::F32).to_vec();
        let kinds = [2, 3, 3, 6, 1, 1, 1].map(Value::I32).to_vec();
        let keys = [
            ("general.architecture", text("llama")),
            ("general.alignment", Value::U32(32)),
            ("general.name", text("tiny")),
            ("llama.block_count", Value::U32(1)),
            ("llama.context_length", Value::U32(64)),
            ("llama.embedding_length", Value::U32(32)),
            ("llama.attention.head_count", Value::U32(4)),
            ("llama.attention.head_count_kv", Value::U32(2)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("tokenizer.ggml.model", text("llama")),
            ("tokenizer.ggml.tokens", texts(&["<unk>", "<s>", "</s>", "<0x0A>", "a", "b", "ab"])),
            ("tokenizer.ggml.scores", Value::Array(F32, floats)),
            ("tokenizer.ggml.token_type", Value::Array(I32, kinds)),
            ("tokenizer.ggml.merges", texts(&["a b"])),
            ("tokenizer.ggml.bos_token_id", Value::U32(1)),
            ("tokenizer.ggml.eos_token_id", Value::U32(2)),
            ("tokenizer.ggml.add_bos_token", Value::Bool(1)),
            ("tokenizer.chat_template", text("{% for m in messages %}{{ m.content }}{% endfor %}")),
        ];
        Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            key_count: None,
            keys: keys.map(|(key, value)| (key.to_owned(), value)).to_vec(),
            tensors: vec![
                tensor("token_embd.weight", &[32, 7], 1, 32 * 7 * 2),
                tensor("blk.0.attn_q.weight", &[32, 3], 2, 3 * 18),
                tensor("output_norm.weight", &[32], 0, 32 * 4),
            ],
            alignment: 32,
            tail: 0,
        }
    }

    /// Gives `key` another value, or adds it.
    pub(super) fn set(&mut self, key: &str, value: Value) {
        match self.keys.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.keys.push((key.to_owned(), value)),
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.keys.retain(|(name, _)| name != key);
    }

    /// Where the value of `key` begins in the written file: behind its type.
    pub(super) fn offset_of(&self, key: &str) -> u64 {
        let before = self.keys.iter().take_while(|(name, _)| name != key);
        let before: usize = before.map(|(name, value)| entry(name, value).len()).sum();
        (24 + before + 8 + key.len() + 4) as u64
    }

    /// Length of what is in front of the padding before the tensors' data.
    pub(super) fn header_len(&self) -> usize {
        self.header().len()
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut file = self.header();
        for tensor in &self.tensors {
            file.resize(file.len().next_multiple_of(self.alignment as usize), 0);
            file.resize(file.len() + tensor.bytes as usize, 0);
        }
        file.resize(file.len().next_multiple_of(self.alignment as usize) + self.tail, 0);
        file
    }

    fn header(&self) -> Vec<u8> {
        let mut file = self.magic.to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        file.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            file.extend(entry(key, value));
        }
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            file.extend(bytes(tensor.name.as_bytes()));
            file.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().for_each(|size| file.extend(size.to_le_bytes()));
            file.extend(tensor.kind.to_le_bytes());
            file.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
            offset = (offset + tensor.bytes).next_multiple_of(self.alignment);
        }
        file
    }
}

fn entry(key: &str, value: &Value) -> Vec<u8> {
    let mut entry = bytes(key.as_bytes());
    let kind = match value {
        Value::Array(..) => ARRAY,
        Value::Raw(kind, _) => *kind,
        scalar => kind_of(scalar),
    };
    entry.extend(kind.to_le_bytes());
    entry.extend(content(value));
    entry
}

fn kind_of(value: &Value) -> u32 {
    match value {
        Value::U32(_) => U32,
        Value::I32(_) => I32,
        Value::F32(_) => F32,
        Value::Bool(_) => 7,
        Value::Text(_) => TEXT,
        Value::Array(..) => ARRAY,
        Value::Raw(kind, _) => *kind,
    }
}

fn content(value: &Value) -> Vec<u8> {
    match value {
        Value::U32(number) => number.to_le_bytes().to_vec(),
        Value::I32(number) => number.to_le_bytes().to_vec(),
        Value::F32(number) => number.to_le_bytes().to_vec(),
        Value::Bool(byte) => vec![*byte],
        Value::Text(text) => bytes(text),
        Value::Array(kind, entries) => {
            let mut array = kind.to_le_bytes().to_vec();
            array.extend((entries.len() as u64).to_le_bytes());
            array.extend(entries.iter().flat_map(content));
            array
        }
        Value::Raw(_, content) => content.clone(),
    }
}

fn bytes(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}
