//! The error of a group as bytes, so that every process ends with the same.

use std::time::Duration;

use fp8lm_device::{LinkError, Waiting};

use crate::wire::{Reader, Writer};

impl Writer {
    /// An error that `rank` has met. What later versions of [`LinkError`] may hold goes as words.
    pub(crate) fn failure(&mut self, error: &LinkError, rank: usize) {
        match error {
            LinkError::RankFailed { rank, reason } => self.said(RANK_FAILED, *rank, reason),
            LinkError::Transport { rank, doing, reason } => {
                self.said(TRANSPORT, *rank, reason);
                self.text(doing);
            }
            LinkError::Deadlock { waiting } => {
                self.byte(DEADLOCK);
                self.waitings(waiting);
            }
            LinkError::TimedOut { rank, waited, waiting } => {
                self.byte(TIMED_OUT);
                self.rank(*rank);
                self.number(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX));
                self.waitings(waiting);
            }
            LinkError::Split { ranks, members } => {
                self.byte(SPLIT);
                ranks.iter().for_each(|rank| self.rank(*rank));
                members.iter().for_each(|members| self.ranks(members));
            }
            other => self.about_a_message(other, rank),
        }
    }

    fn about_a_message(&mut self, error: &LinkError, rank: usize) {
        match error {
            LinkError::Mismatch { ranks, tags } => {
                self.byte(MISMATCH);
                ranks.iter().for_each(|rank| self.rank(*rank));
                tags.iter().for_each(|tag| self.tag(tag));
            }
            LinkError::Length { tag, from, to, sent, expected } => {
                self.byte(LENGTH);
                self.tag(tag);
                self.ranks(&[*from, *to]);
                self.text(sent);
                self.text(expected);
            }
            LinkError::Corrupted { tag, from, to } => {
                self.byte(CORRUPTED);
                self.tag(tag);
                self.ranks(&[*from, *to]);
            }
            LinkError::Unreceived { tag, from, to } => {
                self.byte(UNRECEIVED);
                self.tag(tag);
                self.ranks(&[*from, *to]);
            }
            other => self.said(RANK_FAILED, rank, &other.to_string()),
        }
    }

    fn said(&mut self, kind: u8, rank: usize, reason: &str) {
        self.byte(kind);
        self.rank(rank);
        self.text(reason);
    }

    pub(crate) fn waitings(&mut self, waiting: &[Waiting]) {
        self.rank(waiting.len());
        for waiting in waiting {
            match waiting {
                Waiting::Exchange { rank, tag, peers } => {
                    self.byte(EXCHANGE);
                    self.rank(*rank);
                    self.tag(tag);
                    self.ranks(peers);
                }
                Waiting::Elsewhere { rank } => self.place(ELSEWHERE, *rank),
                Waiting::Ended { rank } => self.place(ENDED, *rank),
            }
        }
    }

    fn place(&mut self, kind: u8, rank: usize) {
        self.byte(kind);
        self.rank(rank);
    }
}

impl Reader<'_> {
    pub(crate) fn failure(&mut self) -> Option<LinkError> {
        Some(match self.byte()? {
            RANK_FAILED => {
                LinkError::RankFailed { rank: self.rank()?, reason: self.text()?.to_owned() }
            }
            TRANSPORT => {
                let (rank, reason) = (self.rank()?, self.text()?.to_owned());
                LinkError::Transport { rank, doing: self.text()?.to_owned(), reason }
            }
            DEADLOCK => LinkError::Deadlock { waiting: self.waitings()? },
            TIMED_OUT => {
                let (rank, waited) = (self.rank()?, Duration::from_nanos(self.number()?));
                LinkError::TimedOut { rank, waited, waiting: self.waitings()? }
            }
            SPLIT => {
                let ranks = [self.rank()?, self.rank()?];
                LinkError::Split { ranks, members: [self.ranks()?, self.ranks()?] }
            }
            MISMATCH => {
                let ranks = [self.rank()?, self.rank()?];
                LinkError::Mismatch { ranks, tags: [self.tag()?.leak(), self.tag()?.leak()] }
            }
            kind => return self.about_a_message(kind),
        })
    }

    fn about_a_message(&mut self, kind: u8) -> Option<LinkError> {
        let tag = self.tag()?.leak();
        let [from, to] = self.ranks()?.try_into().ok()?;
        Some(match kind {
            LENGTH => {
                let (sent, expected) = (self.text()?.to_owned(), self.text()?.to_owned());
                LinkError::Length { tag, from, to, sent, expected }
            }
            CORRUPTED => LinkError::Corrupted { tag, from, to },
            UNRECEIVED => LinkError::Unreceived { tag, from, to },
            _ => return None,
        })
    }

    pub(crate) fn waitings(&mut self) -> Option<Vec<Waiting>> {
        let waitings = self.rank()?;
        (0..waitings).map(|_| self.waiting()).collect()
    }

    fn waiting(&mut self) -> Option<Waiting> {
        let (kind, rank) = (self.byte()?, self.rank()?);
        Some(match kind {
            EXCHANGE => Waiting::Exchange { rank, tag: self.tag()?.leak(), peers: self.ranks()? },
            ELSEWHERE => Waiting::Elsewhere { rank },
            ENDED => Waiting::Ended { rank },
            _ => return None,
        })
    }
}

const RANK_FAILED: u8 = 0;
const TRANSPORT: u8 = 1;
const DEADLOCK: u8 = 2;
const TIMED_OUT: u8 = 3;
const SPLIT: u8 = 4;
const MISMATCH: u8 = 5;
const LENGTH: u8 = 6;
const CORRUPTED: u8 = 7;
const UNRECEIVED: u8 = 8;

const EXCHANGE: u8 = 0;
const ELSEWHERE: u8 = 1;
const ENDED: u8 = 2;

#[cfg(test)]
mod tests {
    use fp8lm_device::{DType, Reduction, Tag};

    use super::*;

    fn errors() -> Vec<LinkError> {
        let (elements, reduction) = (Some(5), Some(Reduction::Maximum));
        let tag =
            Tag { operation: "all_reduce", reduction, dtype: DType::E4M3, elements, number: 3 };
        let other = Tag { operation: "send", reduction: None, elements: None, ..tag };
        let waiting = vec![
            Waiting::Exchange { rank: 0, tag, peers: vec![1, 2] },
            Waiting::Elsewhere { rank: 1 },
            Waiting::Ended { rank: 2 },
        ];
        let (sent, expected) = ("f32[3]".to_owned(), "f32[4]".to_owned());
        vec![
            LinkError::RankFailed { rank: 2, reason: "no data".into() },
            LinkError::Transport { rank: 0, doing: "MPI_Isend".into(), reason: String::new() },
            LinkError::Deadlock { waiting: waiting.clone() },
            LinkError::TimedOut { rank: 1, waited: Duration::from_millis(1500), waiting },
            LinkError::Split { ranks: [0, 1], members: [vec![0, 1], vec![]] },
            LinkError::Mismatch { ranks: [1, 0], tags: [tag, other] },
            LinkError::Length { tag: other, from: 1, to: 2, sent, expected },
            LinkError::Corrupted { tag, from: 1, to: 2 },
            LinkError::Unreceived { tag, from: 2, to: 1 },
        ]
    }

    #[test]
    fn every_error_comes_out_as_it_went_in() {
        for error in errors() {
            let mut writer = Writer::default();
            writer.failure(&error, 7);
            let mut reader = Reader(&writer.0);
            assert_eq!(reader.failure(), Some(error));
            assert!(reader.0.is_empty(), "all was read");
        }
    }

    #[test]
    fn what_is_cut_short_is_no_error() {
        for error in errors() {
            let mut writer = Writer::default();
            writer.failure(&error, 7);
            for bytes in 0..writer.0.len() {
                assert_eq!(Reader(&writer.0[..bytes]).failure(), None, "{bytes} bytes of {error}");
            }
        }
    }
}
