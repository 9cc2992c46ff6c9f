//! What carries bytes between processes, and all that links need of it.

use std::fmt;

use crate::Error;

/// A rank's end of what connects all ranks: messages of bytes, from each to each.
///
/// Messages from one rank to another arrive in the order in which they were sent, each once and whole. Nothing moves
/// but in calls to it.
pub trait Transport: fmt::Debug + Send {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Sends a message to another rank, and waits for nobody.
    fn send(&mut self, to: usize, message: Vec<u8>) -> Result<(), Error>;

    /// Moves on what is on its way, and waits for nobody. A message that has arrived, if one has.
    fn poll(&mut self) -> Result<Option<Arrival>, Error>;

    /// How many messages of this rank still need its calls to arrive.
    fn outstanding(&self) -> usize;

    /// Ends it, once all ranks have agreed that nothing more is sent.
    fn close(&mut self) -> Result<(), Error>;
}

/// A message that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Who sent it.
    pub from: usize,
    /// What it says.
    pub message: Vec<u8>,
}
