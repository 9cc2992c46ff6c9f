//! Sets of ranks, and the processes behind them, as messages name them.

use std::{fmt, net::IpAddr};

/// Ranks, in ascending order. They print as `ranks 2, 5-7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// As few ranges as possible, each with its first and its last.
    ranges: Vec<(usize, usize)>,
}

impl Ranks {
    /// These ranks, whatever order they come in.
    pub fn new(ranks: impl IntoIterator<Item = usize>) -> Self {
        let mut ranks: Vec<_> = ranks.into_iter().collect();
        ranks.sort_unstable();
        Self::from_ranges(ranks.into_iter().map(|rank| (rank, rank)))
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.ranges.iter().flat_map(|&(first, last)| first..=last)
    }

    pub(crate) fn ranges(&self) -> &[(usize, usize)] {
        &self.ranges
    }

    /// The ranks of ranges whose firsts ascend.
    pub(crate) fn from_ranges(all: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for (first, last) in all {
            match ranges.last_mut() {
                Some((_, end)) if first.saturating_sub(1) <= *end => *end = last.max(*end),
                _ => ranges.push((first, last)),
            }
        }
        Self { ranges }
    }
}

impl fmt::Display for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_one = matches!(self.ranges[..], [(first, last)] if first == last);
        f.write_str(if is_one { "rank " } else { "ranks " })?;
        for (index, &(first, last)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// A process that holds or claims a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number in its system.
    pub process: u32,
    /// Where its connection comes from; nothing if it serves the store itself.
    pub address: Option<IpAddr>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "process {} at {address}", self.process),
            None => write!(f, "process {}, which serves the store", self.process),
        }
    }
}

/// Connections that a store has refused, by the reason. Nothing is printed where there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Another token.
    pub token: u32,
    /// Another version of the protocol.
    pub version: u32,
    /// Bytes that mean nothing.
    pub garbage: u32,
    /// Silence until the time-out, or an end before the token was shown.
    pub silence: u32,
    /// A rank that is taken, or of another job.
    pub claim: u32,
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, version, garbage, silence, claim } = self;
        let reasons = [
            (token, "with another token"),
            (version, "of another version"),
            (garbage, "that sent garbage"),
            (silence, "that ended or stayed silent"),
            (claim, "that claimed a wrong rank"),
        ];
        let mut before = "; connections refused meanwhile: ";
        for (count, reason) in reasons.into_iter().filter(|(count, _)| **count > 0) {
            write!(f, "{before}{count} {reason}")?;
            before = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_print_as_ranges() {
        assert_eq!(Ranks::new([7, 2, 5, 6, 5]).to_string(), "ranks 2, 5-7");
        assert_eq!(Ranks::new([3]).to_string(), "rank 3");
        assert_eq!(Ranks::new([usize::MAX, 0, 1]).ranges(), [(0, 1), (usize::MAX, usize::MAX)]);
        assert!(Ranks::new([7, 2, 5, 6, 5]).iter().eq([2, 5, 6, 7]));
    }

    #[test]
    fn refusals_print_what_there_was() {
        assert_eq!(Refusals::default().to_string(), "");
        let some = Refusals { token: 2, silence: 1, ..Default::default() };
        let text =
            "; connections refused meanwhile: 2 with another token, 1 that ended or stayed silent";
        assert_eq!(some.to_string(), text);
    }
}
