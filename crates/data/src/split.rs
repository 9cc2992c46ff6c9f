//! Which tokens are for training and which for validation.

use crate::DataError;
use std::ops::Range;

/// The two parts of a corpus: validation is its end, training all before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Positions of the training tokens.
    pub training: Range<usize>,
    /// Positions of the validation tokens.
    pub validation: Range<usize>,
}

impl Split {
    /// Keeps the last `fraction` of `tokens`, rounded down, for validation.
    pub fn new(tokens: usize, fraction: f64) -> Result<Self, DataError> {
        if !(0.0..1.0).contains(&fraction) {
            return Err(DataError::Fraction { fraction });
        }
        let border = tokens - (tokens as f64 * fraction) as usize;
        Ok(Self { training: 0..border, validation: border..tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_end() {
        let split = Split::new(1010, 0.05).unwrap();
        assert_eq!(split, Split { training: 0..960, validation: 960..1010 });
        assert!(Split::new(1010, 0.0).unwrap().validation.is_empty());
    }

    #[test]
    fn refuses_what_is_no_fraction() {
        for fraction in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            assert!(
                matches!(Split::new(9, fraction), Err(DataError::Fraction { .. })),
                "{fraction}"
            );
        }
    }
}
