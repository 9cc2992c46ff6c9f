//! A transport between threads, for tests and for what needs no processes.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use crate::{Arrival, Error, Transport};

/// One end of a transport in memory.
#[derive(Debug)]
pub struct Wires {
    rank: usize,
    /// To each rank.
    peers: Vec<Sender<Arrival>>,
    inbox: Receiver<Arrival>,
}

impl Wires {
    /// The ends of a transport among `ranks` ranks, in their order.
    pub fn among(ranks: usize) -> Vec<Self> {
        let (peers, inboxes): (Vec<_>, Vec<_>) = (0..ranks).map(|_| channel()).unzip();
        let ends = inboxes.into_iter().enumerate();
        ends.map(|(rank, inbox)| Self { rank, peers: peers.clone(), inbox }).collect()
    }
}

impl Transport for Wires {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.peers.len()
    }

    fn send(&mut self, to: usize, message: Vec<u8>) -> Result<(), Error> {
        let arrival = Arrival { from: self.rank, message };
        self.peers[to].send(arrival).map_err(|_| Error::Gone { rank: to })
    }

    fn poll(&mut self) -> Result<Option<Arrival>, Error> {
        match self.inbox.try_recv() {
            Ok(arrival) => Ok(Some(arrival)),
            // Disconnected it never is: it holds a sender to itself.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(None),
        }
    }

    fn outstanding(&self) -> usize {
        0
    }

    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
