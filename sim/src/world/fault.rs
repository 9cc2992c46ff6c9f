//! What may befall a message, for tests of those who must notice.

/// A message that fares ill. Messages from one rank to another are numbered from 0 as they go out, over all links and
/// runs of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One of its bits arrives flipped, if it has that many.
    Damage {
        /// Who sends it.
        from: usize,
        /// To whom.
        to: usize,
        /// Its number.
        message: u64,
        /// The bit, of those of all its bytes.
        bit: usize,
    },
    /// It never arrives, and its sender does not know.
    Lose {
        /// Who sends it.
        from: usize,
        /// To whom.
        to: usize,
        /// Its number.
        message: u64,
    },
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives,
    Damaged { bit: usize },
    Lost,
}

/// What becomes of message `number` between two ranks.
pub(super) fn fate(faults: &[Fault], ranks: [usize; 2], number: u64) -> Fate {
    let mut fates = faults.iter().filter_map(|fault| match *fault {
        Fault::Damage { from, to, message, bit } => {
            (([from, to], message) == (ranks, number)).then_some(Fate::Damaged { bit })
        }
        Fault::Lose { from, to, message } => {
            (([from, to], message) == (ranks, number)).then_some(Fate::Lost)
        }
    });
    fates.next().unwrap_or(Fate::Arrives)
}
