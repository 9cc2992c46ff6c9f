//! GPT-2's byte-pair encoding, by the table that `tiktoken-rs` embeds.

use crate::DataError;
use std::collections::HashSet;
use tiktoken_rs::r50k_base_singleton;

pub(super) fn encode(text: &str) -> Result<Vec<u32>, DataError> {
    // Not `encode_ordinary`, which panics where this one returns an error.
    match r50k_base_singleton().encode(text, &HashSet::new()) {
        Ok((tokens, _)) => Ok(tokens),
        Err(error) => Err(DataError::Tokenise { reason: error.to_string() }),
    }
}

/// Decodes tokens that are known to be in the vocabulary.
pub(super) fn decode(tokens: &[u32]) -> Result<Vec<u8>, DataError> {
    r50k_base_singleton()
        .decode_bytes(tokens)
        .map_err(|error| DataError::Tokenise { reason: error.to_string() })
}
