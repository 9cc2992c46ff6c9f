//! Which activations a block makes again in the backward pass instead of keeping them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the backward pass computes again. No loss and no gradient depends on it, to the last bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recompute {
    /// Nothing: a block keeps all that its backward pass reads.
    #[default]
    None,
    /// What no product stands in front of: norms, the core of attention, the activation function, and the casts of what
    /// they put out. A block keeps what goes into them.
    Selective,
    /// All of it: a block keeps what it is given, and runs again up to its last product.
    Full,
}

impl Recompute {
    /// All of them, from the one that keeps most.
    pub const ALL: [Self; 3] = [Self::None, Self::Selective, Self::Full];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Selective => "selective",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Recompute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
