use std::io;

/// Why a file is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file cannot be read.
    #[error("cannot be read at byte {offset}: {source}")]
    Unreadable {
        /// Where in the file.
        offset: u64,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not what a model may be.
    #[error("at byte {offset}: {refusal}")]
    Refused {
        /// Where in the file the offending value lies.
        offset: u64,
        /// What is wrong with it.
        refusal: GgufRefusal,
    },
}

impl GgufError {
    pub(super) fn refused(offset: u64, refusal: GgufRefusal) -> Self {
        Self::Refused { offset, refusal }
    }
}

/// What is wrong with a file, and, in each variant's second paragraph, what it would have done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GgufRefusal {
    /// Not a GGUF file.
    ///
    /// A file of another format, or a page that a download gave instead.
    #[error("the file begins with {:?}, not \"GGUF\"", got.escape_ascii().to_string())]
    Magic {
        /// The first four bytes.
        got: [u8; 4],
    },
    /// Written for machines of the other byte order.
    ///
    /// Every length would be read as another number.
    #[error("the file is big-endian; convert it to little-endian")]
    BigEndian,
    /// A version that this check does not know.
    ///
    /// Version 1 has shorter lengths; a later one may have anything.
    #[error("GGUF version {got}, expected 2 or 3")]
    Version {
        /// The version.
        got: u32,
    },
    /// The file ends too early.
    ///
    /// Reads beyond the end; lengths that make the reader allocate what is not there (out of
    /// memory, `length_error` in llama.cpp).
    #[error("{what} needs {needed} bytes, the file has {left} left")]
    Truncated {
        /// What was to be read.
        what: &'static str,
        /// Bytes it claims.
        needed: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// The header never ends.
    ///
    /// Memory and time spent before a model is refused.
    #[error("the header has more than {max} bytes")]
    HeaderTooLarge {
        /// The limit.
        max: u64,
    },
    /// No tensor, or too many.
    ///
    /// `n_tensors` times the size of a tensor's overhead wraps, and the arena is too small
    /// (llama.cpp issue 15711).
    #[error("the file claims {got} tensors, expected 1 to {max}")]
    TensorCount {
        /// The count.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// Too many keys.
    ///
    /// The same with metadata.
    #[error("the file claims {got} metadata keys, at most {max} are read")]
    KeyCount {
        /// The count.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// A key that is empty or too long.
    ///
    /// Unbounded strings (llama.cpp pull request 19856).
    #[error("a metadata key has {got} bytes, expected 1 to {max}")]
    KeyLength {
        /// Its length.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// A key with something else than printable ASCII.
    ///
    /// Two keys that are one in C, which stops at NUL; escape codes in terminals.
    #[error("a metadata key has the byte {byte:#04x}; printable ASCII is expected")]
    KeyCharacter {
        /// The byte.
        byte: u8,
    },
    /// A key that was there before.
    ///
    /// Whoever checks sees the one value, whoever uses it the other.
    #[error("metadata key `{key}` appears twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A value of no known type.
    ///
    /// Reads of unknown size.
    #[error("`{key}` has the unknown type {got}")]
    ValueType {
        /// The key.
        key: String,
        /// The type's number.
        got: u32,
    },
    /// Too long a string.
    ///
    /// Unbounded strings; a chat template is parsed by recursion.
    #[error("`{key}` has a string of {got} bytes, at most {max} are read")]
    StringLength {
        /// The key.
        key: String,
        /// Its length.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// A bool that is neither 0 nor 1.
    ///
    /// Undefined behaviour where it is read as a C++ bool.
    #[error("`{key}` is the bool {got}, expected 0 or 1")]
    Bool {
        /// The key.
        key: String,
        /// The byte.
        got: u8,
    },
    /// An array of arrays.
    ///
    /// Recursion as deep as the file wants.
    #[error("`{key}` is an array of arrays")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// Too many entries.
    ///
    /// Allocation by a claimed count (llama.cpp pull request 19856).
    #[error("`{key}` has {got} entries, at most {max} are read")]
    ArrayLength {
        /// The key.
        key: String,
        /// The count.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// A needed value is absent.
    ///
    /// The reader's default takes its place, which no check has seen.
    #[error("`{key}` is missing or empty")]
    Missing {
        /// The key.
        key: String,
    },
    /// A value of another type than its key's.
    ///
    /// Assertions, and bytes taken for a number of another size (llama.cpp pull request 26318, on
    /// `general.alignment`).
    #[error("`{key}` is {got}, expected {expected}")]
    KeyType {
        /// The key.
        key: String,
        /// The type it has.
        got: &'static str,
        /// The type it must have.
        expected: &'static str,
    },
    /// A number that is out of bounds.
    ///
    /// Division by zero, arrays with one entry for each layer, head or expert written beyond their
    /// end, assertions that end the worker; an alignment whose padding wraps (llama.cpp pull
    /// request 24997).
    #[error("`{key}` is {got}, expected {min} to {max}")]
    OutOfRange {
        /// The key.
        key: String,
        /// Its value.
        got: i128,
        /// Smallest allowed.
        min: i128,
        /// Largest allowed.
        max: i128,
    },
    /// An alignment that is no power of two.
    ///
    /// Padding by masks puts tensors into each other.
    #[error("`general.alignment` is {got}, expected a power of two")]
    Alignment {
        /// Its value.
        got: u64,
    },
    /// An architecture that is no plain word.
    ///
    /// It is put in front of other keys, into messages and logs.
    #[error("`general.architecture` is not a word of a-z 0-9 . _ - with at most 128 bytes")]
    Architecture,
    /// Text that is not UTF-8.
    ///
    /// The template engine walks over its end.
    #[error("`{key}` is not UTF-8")]
    NotUtf8 {
        /// The key.
        key: String,
    },
    /// One part of a file that was split.
    ///
    /// The worker would open the other parts by name; nobody has hashed or checked them.
    #[error("the file is one of {got} parts; merge them into one file")]
    Split {
        /// Number of parts.
        got: u64,
    },
    /// Scores or types that are not one for each token.
    ///
    /// Reads beyond the shorter array.
    #[error("`{key}` has {got} entries, the vocabulary has {expected} tokens")]
    VocabularyLength {
        /// The key.
        key: String,
        /// Its entries.
        got: u64,
        /// Tokens of the vocabulary.
        expected: u64,
    },
    /// A token that is empty or too long.
    ///
    /// Tokenizers take the first byte of a token for granted.
    #[error("token {index} has {got} bytes, expected 1 to {max}")]
    TokenLength {
        /// Number of the token.
        index: u64,
        /// Its length.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// A token that looks like a byte and is none.
    ///
    /// `<0x-1>` is parsed as −1 and written in front of a table on the heap (CVE-2025-49847 and its
    /// successor in PLaMo-2).
    #[error("token {index} is `{got}`, which looks like a byte; expected two hex digits")]
    ByteToken {
        /// Number of the token.
        index: u64,
        /// Its text, escaped.
        got: String,
    },
    /// A token marked as a byte that does not read as one.
    ///
    /// The same, for text of another length.
    #[error("token {index} is marked as a byte and is not `<0x` with two hex digits and `>`")]
    ByteTokenText {
        /// Number of the token.
        index: u64,
    },
    /// A token type that does not exist.
    ///
    /// It is cast to an enum.
    #[error("token {index} has the type {got}, expected 0 to {max}")]
    TokenType {
        /// Number of the token.
        index: u64,
        /// The type.
        got: i128,
        /// Largest type.
        max: i128,
    },
    /// A score that is not a number.
    ///
    /// Queues ordered by it have no order.
    #[error("the score of token {index} is not a number")]
    ScoreNotANumber {
        /// Number of the token.
        index: u64,
    },
    /// A key that names a token which is not there.
    ///
    /// An index beyond the vocabulary.
    #[error("`{key}` is {got}, the vocabulary has {tokens} tokens")]
    TokenId {
        /// The key.
        key: String,
        /// The token it names.
        got: i128,
        /// Tokens of the vocabulary.
        tokens: u64,
    },
    /// A tensor name that is empty or too long.
    ///
    /// ggml has 64 bytes for it.
    #[error("a tensor's name has {got} bytes, expected 1 to {max}")]
    TensorNameLength {
        /// Its length.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// A tensor name with something else than printable ASCII.
    ///
    /// Two names that are one in C.
    #[error("a tensor's name has the byte {byte:#04x}; printable ASCII is expected")]
    TensorNameCharacter {
        /// The byte.
        byte: u8,
    },
    /// A tensor name that was there before.
    ///
    /// Two tensors of different shapes under one name.
    #[error("tensor `{tensor}` appears twice")]
    DuplicateTensor {
        /// The name.
        tensor: String,
    },
    /// No dimension, or too many.
    ///
    /// Writes beyond ggml's array of four.
    #[error("tensor `{tensor}` has {got} dimensions, expected 1 to {max}")]
    Dimensions {
        /// The tensor.
        tensor: String,
        /// Its dimensions.
        got: u32,
        /// The limit.
        max: u32,
    },
    /// A dimension of zero, or one that makes the product too large.
    ///
    /// The product wraps, a small buffer is filled with a large tensor (llama.cpp issue 27203).
    #[error("tensor `{tensor}` has a dimension of {got}; the product must be 1 to 2^63 - 1")]
    DimensionSize {
        /// The tensor.
        tensor: String,
        /// The size.
        got: u64,
    },
    /// A type that does not exist or was withdrawn.
    ///
    /// An index beyond ggml's table, or a division by its block size of zero.
    #[error("tensor `{tensor}` has the unknown ggml type {got}")]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The type's number.
        got: u32,
    },
    /// Rows that do not consist of whole blocks.
    ///
    /// Rows are computed shorter than they are read.
    #[error("tensor `{tensor}` has rows of {got} elements, expected a multiple of {block}")]
    PartialBlock {
        /// The tensor.
        tensor: String,
        /// Elements of a row.
        got: u64,
        /// Elements of a block.
        block: u64,
    },
    /// A size in bytes that does not fit 64 bits.
    ///
    /// It wraps (llama.cpp pull request 18674).
    #[error("tensor `{tensor}` has more than 2^64 bytes")]
    TensorTooLarge {
        /// The tensor.
        tensor: String,
    },
    /// Data beyond the end of the file.
    ///
    /// A read over the heap's end, whose bytes come out in the model (CVE-2026-7482).
    #[error("tensor `{tensor}` ends at byte {end}, the file at {file_len}")]
    TensorPastEnd {
        /// The tensor.
        tensor: String,
        /// Where its data would end.
        end: u64,
        /// Size of the file.
        file_len: u64,
    },
    /// Data that is not aligned.
    ///
    /// Vector instructions fault.
    #[error("tensor `{tensor}` lies at {got}, not at a multiple of {alignment}")]
    TensorUnaligned {
        /// The tensor.
        tensor: String,
        /// Its offset.
        got: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Data inside another tensor's, or before it.
    ///
    /// One buffer under two shapes.
    #[error("tensor `{tensor}` lies at {got}, before the end of the one in front at {expected}")]
    TensorOverlap {
        /// The tensor.
        tensor: String,
        /// Its offset.
        got: u64,
        /// Where it must lie.
        expected: u64,
    },
    /// Bytes between two tensors that belong to neither.
    ///
    /// Something else in the file than the model.
    #[error("tensor `{tensor}` lies at {got}, the one in front ends at {expected}")]
    TensorGap {
        /// The tensor.
        tensor: String,
        /// Its offset.
        got: u64,
        /// Where it must lie.
        expected: u64,
    },
    /// Bytes after the last tensor.
    ///
    /// The same.
    #[error("the file has {got} bytes, its last tensor ends at {expected}")]
    TrailingBytes {
        /// Size of the file.
        got: u64,
        /// Where it should end.
        expected: u64,
    },
}
