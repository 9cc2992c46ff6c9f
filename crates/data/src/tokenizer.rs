//! Text to tokens and back.

use crate::DataError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

#[cfg(feature = "gpt2")]
mod gpt2;
#[cfg(not(feature = "gpt2"))]
#[path = "tokenizer/gpt2_absent.rs"]
mod gpt2;

/// A way to make tokens of text; parsed, printed and serialised as `bytes` or `gpt2`.
///
/// ```
/// # fn main() -> Result<(), fp8lm_data::DataError> {
/// let tokenizer: fp8lm_data::Tokenizer = "bytes".parse()?;
/// let tokens = tokenizer.encode("Amen.")?;
/// assert_eq!(tokens, [65, 109, 101, 110, 46]);
/// assert_eq!(tokenizer.decode(&tokens)?, b"Amen.");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Tokenizer {
    /// Each byte of UTF-8 is a token.
    Bytes,
    /// The byte-pair encoding of GPT-2. Text is never read as the special token `<|endoftext|>`,
    /// 50256. Needs the feature `gpt2`.
    Gpt2,
}

impl Tokenizer {
    /// Its name, as in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Gpt2 => "gpt2",
        }
    }

    /// Number of tokens.
    pub fn vocabulary(self) -> usize {
        match self {
            Self::Bytes => 256,
            Self::Gpt2 => 50_257,
        }
    }

    /// The tokens of `text`.
    pub fn encode(self, text: &str) -> Result<Vec<u32>, DataError> {
        match self {
            Self::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Self::Gpt2 => gpt2::encode(text),
        }
    }

    /// The bytes that `tokens` stand for; cut anywhere, they need not be UTF-8.
    pub fn decode(self, tokens: &[u32]) -> Result<Vec<u8>, DataError> {
        let vocabulary = self.vocabulary();
        let outside = |&token: &u32| token as usize >= vocabulary;
        if let Some(position) = tokens.iter().position(outside) {
            let (name, token) = (self.name().to_owned(), tokens[position]);
            return Err(DataError::TokenOutOfRange { name, position, token, vocabulary });
        }
        match self {
            Self::Bytes => Ok(tokens.iter().map(|&token| token as u8).collect()),
            Self::Gpt2 => gpt2::decode(tokens),
        }
    }
}

impl fmt::Display for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Tokenizer {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        [Self::Bytes, Self::Gpt2]
            .into_iter()
            .find(|tokenizer| tokenizer.name() == name)
            .ok_or_else(|| DataError::UnknownTokenizer { name: name.to_owned() })
    }
}

impl TryFrom<String> for Tokenizer {
    type Error = DataError;

    fn try_from(name: String) -> Result<Self, DataError> {
        name.parse()
    }
}

impl From<Tokenizer> for String {
    fn from(tokenizer: Tokenizer) -> Self {
        tokenizer.name().to_owned()
    }
}

#[cfg(test)]
mod tests;
