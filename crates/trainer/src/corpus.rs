//! The corpus that a configuration names.

use fp8lm_data::{Corpus, DataError};

use crate::config::DataConfig;

/// Opens it: the embedded text, text files, or one file of tokens.
pub(crate) fn open(config: &DataConfig) -> Result<Corpus, DataError> {
    match config.files.as_slice() {
        [] => Corpus::king_james(config.tokenizer),
        [file] if file.extension().is_some_and(|ending| ending == "bin") => {
            Corpus::from_bin(file, config.tokenizer)
        }
        files => Corpus::from_files(files, config.tokenizer),
    }
}
