//! A rank's end of a link.

use std::sync::{Arc, Mutex, PoisonError};

use fp8lm_device::{Link, LinkError, Result, Stream, Tag, Transfer, expect_members, expect_rank};

use super::{
    call::{Call, Flight},
    groups::Split,
    rendezvous::Rendezvous,
    state::{Message, Route},
};
use crate::Adversarial;

/// One end of a link between ranks of a [`World`](super::World).
#[derive(Debug)]
pub(super) struct SimLink {
    rendezvous: Arc<Rendezvous>,
    /// The queues of the rank's device, unless it does everything at once.
    streams: Option<Arc<Adversarial>>,
    channel: usize,
    /// The ranks of the world that the link connects.
    members: Vec<usize>,
    rank: usize,
    numbers: Mutex<Numbers>,
}

/// How many calls there were, which names the next.
#[derive(Debug)]
struct Numbers {
    /// Messages to and from each member.
    messages: Vec<[u64; 2]>,
    splits: u64,
}

impl Numbers {
    fn new(members: usize) -> Self {
        Self { messages: vec![[0; 2]; members], splits: 0 }
    }
}

impl SimLink {
    /// The end of a rank of the link among all.
    pub(super) fn new(
        rendezvous: Arc<Rendezvous>,
        streams: Option<Arc<Adversarial>>,
        rank: usize,
    ) -> Self {
        let members: Vec<_> = (0..rendezvous.emulators.len()).collect();
        let numbers = Mutex::new(Numbers::new(members.len()));
        Self { rendezvous, streams, channel: 0, members, rank, numbers }
    }

    fn world_rank(&self) -> usize {
        self.members[self.rank]
    }

    /// The sides of messages that transfers are, after the checks that need no peer.
    fn messages(&self, stream: Stream, transfers: &[Transfer]) -> Result<Vec<Message>> {
        let device = &self.rendezvous.emulators[self.world_rank()];
        for transfer in transfers {
            device.expect_own("exchange", stream, transfer.view())?;
            expect_rank("exchange", transfer.peer(), self.members.len())?;
        }
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(transfers.iter().map(|transfer| self.message(&mut numbers, transfer)).collect())
    }

    fn message(&self, numbers: &mut Numbers, transfer: &Transfer) -> Message {
        let is_send = matches!(transfer, Transfer::Send { .. });
        let count = &mut numbers.messages[transfer.peer()][usize::from(is_send)];
        let number = *count;
        *count += 1;
        let (own, peer) = (self.world_rank(), self.members[transfer.peer()]);
        let (from, to) = if is_send { (own, peer) } else { (peer, own) };
        let route = Route { channel: self.channel, from, to, number };
        Message { route, is_send, view: transfer.view().clone() }
    }

    fn next_split(&self) -> Split {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers.splits;
        numbers.splits += 1;
        Split { channel: self.channel, number }
    }
}

impl Link for SimLink {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.members.len()
    }

    fn exchange(&self, stream: Stream, tag: Tag, transfers: &[Transfer]) -> Result<()> {
        self.rendezvous.check()?;
        let (rendezvous, rank) = (self.rendezvous.clone(), self.world_rank());
        let call = Call { rendezvous, rank, tag, messages: self.messages(stream, transfers)? };
        match &self.streams {
            Some(streams) => streams.exchange(stream, call),
            None if call.only_sends() => call.send_off(stream)?,
            None => Flight::wait_any(&[call.post()?])?,
        }
        Ok(())
    }

    fn split(&self, members: &[usize]) -> Result<Arc<dyn Link>> {
        let rank = expect_members(self, members)?;
        let members: Vec<_> = members.iter().map(|&member| self.members[member]).collect();
        let split = self.next_split();
        let channel = self.rendezvous.split(split, self.world_rank(), &members)?;
        let numbers = Mutex::new(Numbers::new(members.len()));
        let (rendezvous, streams) = (self.rendezvous.clone(), self.streams.clone());
        Ok(Arc::new(Self { rendezvous, streams, channel, members, rank, numbers }))
    }

    fn abort(&self, error: LinkError) {
        self.rendezvous.abort(error);
    }
}
