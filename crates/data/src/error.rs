//! What can be wrong with a corpus or with the windows asked of it.

use std::{io, path::PathBuf};

/// An error of this crate; its fields are the facts, its message one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file cannot be opened, read or mapped.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A corpus was asked of no file at all.
    #[error("no corpus file is named")]
    NoFiles,
    /// A file or text holds nothing.
    #[error("{name} is empty")]
    Empty {
        /// The file or text.
        name: String,
    },
    /// A text file is not UTF-8.
    #[error("{} is not UTF-8: invalid byte at offset {offset}", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Bytes before the first invalid one.
        offset: usize,
    },
    /// A file of 16-bit tokens has an odd number of bytes.
    #[error("{} is no file of 16-bit tokens: its length of {bytes} bytes is odd", path.display())]
    OddLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// A token is outside the vocabulary.
    #[error(
        "{name}: token {token} at position {position} is outside the vocabulary of {vocabulary}"
    )]
    TokenOutOfRange {
        /// The corpus, or the tokenizer that was to decode it.
        name: String,
        /// Tokens before it.
        position: usize,
        /// The token.
        token: u32,
        /// Number of tokens in the vocabulary.
        vocabulary: usize,
    },
    /// No tokenizer has this name.
    #[error("unknown tokenizer {name:?}: expected \"bytes\" or \"gpt2\"")]
    UnknownTokenizer {
        /// The name given.
        name: String,
    },
    /// The tokenizer was left out when this crate was built.
    #[error("tokenizer {name:?} is not built in: enable the feature {name:?} of fp8lm-data")]
    TokenizerNotBuilt {
        /// The tokenizer and its feature.
        name: &'static str,
    },
    /// The tokenizer cannot take a text apart.
    #[error("cannot tokenise: {reason}")]
    Tokenise {
        /// What the tokenizer said.
        reason: String,
    },
    /// The validation split is no fraction below one.
    #[error("data.validation = {fraction} is not a fraction from 0 to below 1")]
    Fraction {
        /// The fraction given.
        fraction: f64,
    },
    /// A size that must be positive is zero.
    #[error("{key} = 0, but it must be at least 1")]
    Zero {
        /// The key.
        key: &'static str,
    },
    /// Not one window fits in a split.
    #[error(
        "context = {context} needs {context} + 1 tokens, but the {part} split of {name} holds {tokens}"
    )]
    ContextTooLong {
        /// Tokens of context asked for.
        context: usize,
        /// `training` or `validation`.
        part: &'static str,
        /// The corpus.
        name: String,
        /// Tokens in the split.
        tokens: usize,
    },
    /// A split is not of this corpus.
    #[error("the {part} split ends at token {end}, but {name} holds {tokens}")]
    SplitTooLong {
        /// `training` or `validation`.
        part: &'static str,
        /// Where the split ends.
        end: usize,
        /// The corpus.
        name: String,
        /// Tokens in the corpus.
        tokens: usize,
    },
    /// A batch has more rows than a split has windows.
    #[error(
        "data.batch = {batch} is more than the {windows} windows of context {context} in the {part} split of {name} ({tokens} tokens)"
    )]
    BatchTooLarge {
        /// Rows asked for.
        batch: usize,
        /// Tokens of context.
        context: usize,
        /// `training` or `validation`.
        part: &'static str,
        /// The corpus.
        name: String,
        /// Tokens in the split.
        tokens: usize,
        /// Windows that it gives.
        windows: usize,
    },
    /// A validation batch beyond the last was asked for.
    #[error("no validation batch {index}: there are {count}")]
    NoSuchBatch {
        /// The batch asked for.
        index: usize,
        /// Number of batches.
        count: usize,
    },
}
