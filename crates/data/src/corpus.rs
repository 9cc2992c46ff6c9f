//! A corpus: a row of tokens with a name, a tokenizer and a fingerprint.

use crate::storage::Storage;
use crate::{DataError, KING_JAMES, Tokenizer};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// A row of tokens, in memory or mapped from a file.
#[derive(Debug)]
pub struct Corpus {
    name: String,
    tokenizer: Tokenizer,
    storage: Storage,
    /// Bytes of storage a token: 1 or 2.
    width: usize,
    bytes_per_token: f64,
    fingerprint: u64,
}

impl Corpus {
    /// The embedded text, [`KING_JAMES`]; as bytes it is used where it lies, with no copy.
    pub fn king_james(tokenizer: Tokenizer) -> Result<Self, DataError> {
        match tokenizer {
            Tokenizer::Bytes => {
                let storage = Storage::Static(KING_JAMES.as_bytes());
                Ok(Self::new(NAME.to_owned(), tokenizer, storage, 1, 1.0))
            }
            _ => Self::from_text(NAME, KING_JAMES, tokenizer),
        }
    }

    /// The tokens of `text`; `name` stands for it in messages.
    pub fn from_text(name: &str, text: &str, tokenizer: Tokenizer) -> Result<Self, DataError> {
        Self::from_string(name.to_owned(), text.to_owned(), tokenizer)
    }

    /// The tokens of UTF-8 text files, which are joined in this order with nothing in between.
    pub fn from_files(paths: &[PathBuf], tokenizer: Tokenizer) -> Result<Self, DataError> {
        let text = paths.iter().map(|path| read_text(path)).collect::<Result<String, _>>()?;
        let name = match paths {
            [] => return Err(DataError::NoFiles),
            [path] => path.display().to_string(),
            [path, rest @ ..] => format!("{} and {} more", path.display(), rest.len()),
        };
        Self::from_string(name, text, tokenizer)
    }

    /// A file of tokens as nanoGPT writes them: 16-bit, little-endian, no header, memory-mapped.
    ///
    /// A token outside the tokenizer's vocabulary is reported when it is read. As with every
    /// memory-mapped file, nothing may write to or truncate it while the corpus lives.
    pub fn from_bin(path: &Path, tokenizer: Tokenizer) -> Result<Self, DataError> {
        let read = |error| DataError::Read { path: path.to_owned(), error };
        let file = File::open(path).map_err(read)?;
        let name = path.display().to_string();
        // An empty file cannot be mapped on every system.
        if file.metadata().map_err(read)?.len() == 0 {
            return Err(DataError::Empty { name });
        }
        let storage = Storage::map(&file).map_err(read)?;
        if storage.len() % 2 != 0 {
            return Err(DataError::OddLength { path: path.to_owned(), bytes: storage.len() });
        }
        let mut corpus = Self::new(name, tokenizer, storage, 2, 1.0);
        corpus.bytes_per_token = corpus.measure()?;
        Ok(corpus)
    }

    /// Number of tokens, at least one.
    #[expect(clippy::len_without_is_empty, reason = "a corpus is never empty")]
    pub fn len(&self) -> usize {
        self.storage.len() / self.width
    }

    /// The corpus in words, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tokenizer whose tokens these are.
    pub fn tokenizer(&self) -> Tokenizer {
        self.tokenizer
    }

    /// Bytes of text that a token stands for in the mean, which turns nats a token into nats a byte.
    /// Of a `.bin` the first 2^20 tokens are counted, of text all.
    pub fn bytes_per_token(&self) -> f64 {
        self.bytes_per_token
    }

    /// A hash of tokens and vocabulary, the same on every machine, by which a checkpoint can tell
    /// its corpus from another. Above 16 MiB it reads a sample.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Copies the tokens from position `start` on. The range must lie within the corpus.
    pub(crate) fn read(&self, start: usize, tokens: &mut [u32]) -> Result<(), DataError> {
        let bytes = &self.storage[start * self.width..(start + tokens.len()) * self.width];
        let vocabulary = self.tokenizer.vocabulary();
        for (i, (token, bytes)) in tokens.iter_mut().zip(bytes.chunks_exact(self.width)).enumerate()
        {
            *token = bytes.iter().rev().fold(0, |token, &byte| token << 8 | u32::from(byte));
            if *token as usize >= vocabulary {
                let (name, token) = (self.name.clone(), *token);
                let position = start + i;
                return Err(DataError::TokenOutOfRange { name, position, token, vocabulary });
            }
        }
        Ok(())
    }

    fn from_string(name: String, text: String, tokenizer: Tokenizer) -> Result<Self, DataError> {
        if text.is_empty() {
            return Err(DataError::Empty { name });
        }
        if tokenizer == Tokenizer::Bytes {
            return Ok(Self::new(name, tokenizer, Storage::Owned(text.into_bytes()), 1, 1.0));
        }
        let tokens = tokenizer.encode(&text)?;
        let bytes_per_token = text.len() as f64 / tokens.len() as f64;
        let bytes = tokens.iter().flat_map(|&token| (token as u16).to_le_bytes()).collect();
        Ok(Self::new(name, tokenizer, Storage::Owned(bytes), 2, bytes_per_token))
    }

    fn new(
        name: String,
        tokenizer: Tokenizer,
        storage: Storage,
        width: usize,
        bytes_per_token: f64,
    ) -> Self {
        let fingerprint = storage.fingerprint(tokenizer.vocabulary() as u64);
        Self { name, tokenizer, storage, width, bytes_per_token, fingerprint }
    }

    fn measure(&self) -> Result<f64, DataError> {
        let mut tokens = vec![0; self.len().min(1 << 20)];
        self.read(0, &mut tokens)?;
        Ok(self.tokenizer.decode(&tokens)?.len() as f64 / tokens.len() as f64)
    }
}

fn read_text(path: &Path) -> Result<String, DataError> {
    let bytes = fs::read(path).map_err(|error| DataError::Read { path: path.to_owned(), error })?;
    if bytes.is_empty() {
        return Err(DataError::Empty { name: path.display().to_string() });
    }
    String::from_utf8(bytes).map_err(|error| DataError::NotUtf8 {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })
}

const NAME: &str = "the embedded King James Bible";

#[cfg(test)]
mod tests;
