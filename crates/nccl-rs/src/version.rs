//! Versions of NCCL and their one-number form.

use std::{ffi::c_int, fmt};

/// A version of NCCL. Versions compare in the order in which they appeared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The generation, 2.
    pub major: u32,
    /// The release.
    pub minor: u32,
    /// The correction of a release.
    pub patch: u32,
}

impl Version {
    /// A version by its parts.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads NCCL's own number. Up to 2.8 it gave the minor version one digit, since then two.
    pub(crate) fn from_code(code: c_int) -> Self {
        let code = code.unsigned_abs();
        let generation = if code < 10_000 { 1_000 } else { 10_000 };
        Self::new(code / generation, code % generation / 100, code % 100)
    }

    /// NCCL's own number of a version from 2.9 on.
    pub(crate) const fn code(self) -> u32 {
        self.major * 10_000 + self.minor * 100 + self.patch
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_gained_a_digit_with_2_9() {
        assert_eq!(Version::from_code(2_708), Version::new(2, 7, 8));
        assert_eq!(Version::from_code(20_906), Version::new(2, 9, 6));
        assert_eq!(Version::from_code(22_707), Version::new(2, 27, 7));
        assert_eq!(Version::new(2, 27, 7).code(), 22_707);
    }

    #[test]
    fn versions_compare_by_age() {
        assert!(Version::from_code(2_708) < Version::from_code(20_906));
        assert!(Version::new(2, 18, 5) < Version::new(2, 27, 0));
    }
}
