//! Stands in for GPT-2's tokenizer where the feature `gpt2` is off.

use crate::DataError;

pub(super) fn encode(_text: &str) -> Result<Vec<u32>, DataError> {
    Err(DataError::TokenizerNotBuilt { name: "gpt2" })
}

pub(super) fn decode(_tokens: &[u32]) -> Result<Vec<u8>, DataError> {
    Err(DataError::TokenizerNotBuilt { name: "gpt2" })
}
