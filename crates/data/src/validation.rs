//! The order in which the validation split is read: front to back, always the same.

use crate::batches::check;
use crate::{Batch, Corpus, DataError, Split};
use std::{ops::Range, sync::Arc};

/// Batches of consecutive windows, from the front of the validation split.
///
/// Each token of the split but the first is a target at most once; the windows left after the last
/// full batch are dropped.
#[derive(Clone, Debug)]
pub struct Validation {
    corpus: Arc<Corpus>,
    tokens: Range<usize>,
    batch: usize,
    context: usize,
    count: usize,
}

impl Validation {
    /// Batches of `batch` rows of `context` tokens.
    pub fn new(
        corpus: &Arc<Corpus>,
        split: &Split,
        batch: usize,
        context: usize,
    ) -> Result<Self, DataError> {
        let tokens = split.validation.clone();
        let windows = tokens.len().saturating_sub(1) / context.max(1);
        check(corpus, "validation", &tokens, windows, [batch, context])?;
        Ok(Self { corpus: corpus.clone(), tokens, batch, context, count: windows / batch })
    }

    /// Number of batches in the split, at least one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Writes batch `index`, below [`count`](Self::count), into `batch`.
    pub fn fill(&self, index: usize, batch: &mut Batch) -> Result<(), DataError> {
        if index >= self.count {
            return Err(DataError::NoSuchBatch { index, count: self.count });
        }
        batch.fill(&self.corpus, [self.batch, self.context], |row| {
            self.tokens.start + (index * self.batch + row) * self.context
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tokenizer;

    #[test]
    fn reads_the_split_front_to_back() {
        let text: String = ('a'..='z').collect();
        let corpus = Arc::new(Corpus::from_text("letters", &text, Tokenizer::Bytes).unwrap());
        let split = Split::new(26, 0.62).unwrap();
        // Five windows in k..=z: the fifth fills no batch.
        let validation = Validation::new(&corpus, &split, 2, 3).unwrap();
        assert_eq!(validation.count(), 2);

        let mut batch = Batch::default();
        let mut read = Vec::new();
        for index in 0..2 {
            validation.fill(index, &mut batch).unwrap();
            let decode =
                |tokens| String::from_utf8(Tokenizer::Bytes.decode(tokens).unwrap()).unwrap();
            read.push((decode(&batch.inputs), decode(&batch.targets)));
        }
        let expected = [("klmnop", "lmnopq"), ("qrstuv", "rstuvw")];
        assert_eq!(read, expected.map(|(i, t)| (i.to_owned(), t.to_owned())));
        assert!(matches!(
            validation.fill(2, &mut batch),
            Err(DataError::NoSuchBatch { index: 2, count: 2 })
        ));
    }
}
