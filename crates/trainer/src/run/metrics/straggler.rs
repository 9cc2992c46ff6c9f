//! Which rank the others waited for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::real;

/// What a rank does of its own in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Making batches.
    Data,
    /// Forward and backward passes.
    Passes,
    /// Summing gradients over ranks, stepping parameters and handing them round.
    Update,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 3] = [Self::Data, Self::Passes, Self::Update];

    /// What a reader calls it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Passes => "passes",
            Self::Update => "update",
        }
    }
}

/// The seconds of one rank in a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// On work of its own, by phase.
    own: [f64; 3],
    /// In exchanges with others.
    pub waited: f64,
}

impl Spent {
    /// Adds to a phase.
    pub fn add(&mut self, phase: Phase, time: Duration) {
        self.own[phase as usize] += time.as_secs_f64();
    }

    /// On work of its own, in all phases.
    fn total(&self) -> f64 {
        self.own.iter().sum()
    }
}

/// The rank that did most of its own in a step, so that others waited for it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Straggler {
    /// The rank.
    pub rank: u64,
    /// In what it was furthest behind the others.
    pub phase: Phase,
    /// How long it took there.
    #[serde(with = "real")]
    pub seconds: f64,
    /// How long ranks took in the median, the lower one of two.
    #[serde(with = "real")]
    pub median: f64,
    /// The longest that any rank was in exchanges.
    #[serde(with = "real")]
    pub waited: f64,
}

impl Straggler {
    /// Among ranks, in their order; none among less than two.
    pub fn among(ranks: &[Spent]) -> Option<Self> {
        let slower = |a: &usize, b: &usize| ranks[*a].total().total_cmp(&ranks[*b].total());
        let rank = (0..ranks.len()).max_by(slower).filter(|_| ranks.len() > 1)?;
        let seconds = |phase: Phase| ranks[rank].own[phase as usize];
        let behind = |phase: &Phase| seconds(*phase) - median(ranks, *phase);
        let phase = Phase::ALL.into_iter().max_by(|a, b| behind(a).total_cmp(&behind(b)))?;
        let waited = ranks.iter().map(|spent| spent.waited).fold(0.0, f64::max);
        let (rank, median) = (rank as u64, median(ranks, phase));
        Some(Self { rank, phase, seconds: seconds(phase), median, waited })
    }
}

fn median(ranks: &[Spent], phase: Phase) -> f64 {
    let mut seconds: Vec<_> = ranks.iter().map(|spent| spent.own[phase as usize]).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[(seconds.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(own: [f64; 3], waited: f64) -> Spent {
        Spent { own, waited }
    }

    #[test]
    fn the_rank_with_most_of_its_own_is_the_one_that_others_wait_for() {
        let ranks = [
            spent([0.1, 2.0, 1.0], 1.5),
            spent([0.1, 2.1, 1.0], 1.4),
            spent([0.1, 3.5, 1.2], 0.0),
            spent([0.9, 2.0, 1.0], 0.7),
        ];
        let found = Straggler::among(&ranks).unwrap();
        let phase = Phase::Passes;
        assert_eq!(found, Straggler { rank: 2, phase, seconds: 3.5, median: 2.0, waited: 1.5 });
    }

    #[test]
    fn a_phase_counts_by_what_is_lost_in_it_and_not_by_its_length() {
        let ranks = [spent([0.1, 9.0, 1.0], 1.0), spent([1.1, 9.1, 1.0], 0.0)];
        let found = Straggler::among(&ranks).unwrap();
        assert_eq!((found.rank, found.phase, found.median), (1, Phase::Data, 0.1));
    }

    #[test]
    fn who_is_alone_is_waited_for_by_nobody() {
        assert_eq!(Straggler::among(&[spent([1.0; 3], 0.0)]), None);
        assert_eq!(Straggler::among(&[]), None);
    }
}
