//! Corpora, tokenizers and deterministic batches for training language models.
//!
//! A [`Corpus`] is a row of tokens: the embedded King James Bible, any UTF-8 text files, or a
//! memory-mapped `.bin` of 16-bit tokens. A [`Tokenizer`] makes tokens of text and back. A
//! [`Split`] keeps the end of the corpus for validation. [`Batches`] cuts the rest into windows and
//! deals them in an order that is a pure function of the seed and the step: training resumes at any
//! step, on any machine, with no state to save. [`Validation`] deals the kept end, always the same.
//!
//! ```
//! use fp8lm_data::{Batch, Batches, Corpus, Sampling, Split, Tokenizer};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), fp8lm_data::DataError> {
//! let corpus = Arc::new(Corpus::king_james(Tokenizer::Bytes)?);
//! let split = Split::new(corpus.len(), 0.05)?;
//! let sampling = Sampling { seed: 1, batch: 8, micro_batches: 1, context: 256 };
//! let batches = Batches::new(&corpus, &split, sampling)?;
//!
//! let mut batch = Batch::new(8, 256);
//! batches.fill(300, 0, &mut batch)?;
//! assert_eq!(batch.inputs[1..256], batch.targets[..255]);
//! # Ok(())
//! # }
//! ```
//!
//! # Limits
//! Vocabularies have at most 65,536 tokens, as in the `.bin` format. Text is tokenised in memory;
//! what does not fit there belongs in a `.bin`. Windows do not respect document borders.

mod batch;
mod batches;
mod corpus;
mod error;
mod king_james;
mod permutation;
mod split;
mod storage;
mod tokenizer;
mod validation;

pub use batch::Batch;
pub use batches::{Batches, Sampling};
pub use corpus::Corpus;
pub use error::DataError;
pub use king_james::KING_JAMES;
pub use split::Split;
pub use tokenizer::Tokenizer;
pub use validation::Validation;
