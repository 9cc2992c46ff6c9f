//! What a step sent between ranks.

use serde::{Deserialize, Serialize};

/// What the data-parallel ranks of a run sent one another in a step. Counts are of all ranks together: whole numbers,
/// whatever the number of ranks; [`of_a_rank`](Self::of_a_rank) makes means of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// The ranks.
    pub ranks: u64,
    /// Bytes by kind and collective.
    pub sent: Vec<Sent>,
    /// The bytes that recipe `bf16` would have sent for gradients and weights.
    pub bf16: u64,
}

/// Bytes of one kind that one collective sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// What they were for, such as `weights`.
    pub kind: String,
    /// What sent them, such as `all_gather`.
    pub collective: String,
    /// How many they were.
    pub bytes: u64,
}

impl Wire {
    /// From the ranks' books, added up: kind, collective and bytes.
    pub fn new<'a>(
        ranks: u64,
        books: impl IntoIterator<Item = (&'a str, &'a str, u64)>,
        bf16: u64,
    ) -> Self {
        let sent = |(kind, collective, bytes): (&str, &str, u64)| Sent {
            kind: kind.to_owned(),
            collective: collective.to_owned(),
            bytes,
        };
        Self { ranks, sent: books.into_iter().map(sent).collect(), bf16 }
    }

    /// Bytes of all kinds.
    pub fn bytes(&self) -> u64 {
        self.sent.iter().map(|sent| sent.bytes).sum()
    }

    /// The share of one rank in the mean.
    pub fn of_a_rank(&self, bytes: u64) -> f64 {
        bytes as f64 / self.ranks.max(1) as f64
    }
}
