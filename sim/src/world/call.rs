//! An exchange before it goes out, and on its way.

use std::sync::Arc;

use fp8lm_device::{Result, Stream, Tag};

use super::{
    rendezvous::Rendezvous,
    state::{Message, Parcel, Ticket},
};

/// An exchange that was called and checked.
#[derive(Debug)]
pub(crate) struct Call {
    pub(super) rendezvous: Arc<Rendezvous>,
    pub(super) rank: usize,
    pub(super) tag: Tag,
    pub(super) messages: Vec<Message>,
}

impl Call {
    /// Offers its messages to the peers.
    pub(crate) fn post(self) -> Result<Flight> {
        let Self { rendezvous, rank, tag, messages } = self;
        let ticket = rendezvous.post(Parcel { rank, tag, is_awaited: true, messages })?;
        Ok(Flight { rendezvous, rank, ticket })
    }

    /// Whether nothing comes back.
    pub(super) fn only_sends(&self) -> bool {
        self.messages.iter().all(|message| message.is_send)
    }

    /// Sends its messages without waiting for their receivers. Of what no receiver waits for it leaves a copy.
    pub(super) fn send_off(self, stream: Stream) -> Result<()> {
        let Self { rendezvous, rank, tag, mut messages } = self;
        let is_expected = rendezvous.are_expected(&messages)?;
        for (message, is_expected) in messages.iter_mut().zip(is_expected) {
            if !is_expected {
                message.view = rendezvous.emulators[rank].duplicate(stream, &message.view)?;
            }
        }
        rendezvous.post(Parcel { rank, tag, is_awaited: false, messages }).map(drop)
    }
}

/// An exchange that peers may answer.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    rendezvous: Arc<Rendezvous>,
    rank: usize,
    ticket: Ticket,
}

impl Flight {
    /// Whether all its messages have arrived.
    pub(crate) fn has_landed(&self) -> Result<bool> {
        self.rendezvous.has_arrived(self.ticket)
    }

    /// Waits until one of several is over, all of one rank.
    pub(crate) fn wait_any(flights: &[Self]) -> Result<()> {
        let Some(first) = flights.first() else { return Ok(()) };
        let tickets: Vec<_> = flights.iter().map(|flight| flight.ticket).collect();
        first.rendezvous.wait_any(first.rank, &tickets)
    }
}
