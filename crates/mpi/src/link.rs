//! A rank's end of a link.

use std::sync::{Arc, Mutex, PoisonError};

use fp8lm_device::{Link, LinkError, Result, Stream, Tag, Transfer, expect_members, expect_rank};

use crate::{
    frame::{Route, Split},
    hub::{Expected, Hub},
};

/// One end of a link between processes.
#[derive(Debug)]
pub(crate) struct MessageLink {
    hub: Arc<Hub>,
    channel: u64,
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

impl MessageLink {
    /// The end of this process of the link among all.
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        let (rank, ranks) = (hub.rank, hub.lock().size());
        Self::among(hub, 0, (0..ranks).collect(), rank)
    }

    fn among(hub: Arc<Hub>, channel: u64, members: Vec<usize>, rank: usize) -> Self {
        let numbers = Numbers { messages: vec![[0; 2]; members.len()], splits: 0 };
        Self { hub, channel, members, rank, numbers: Mutex::new(numbers) }
    }

    /// The ways of all transfers, in the order of the call.
    fn routes(&self, transfers: &[Transfer]) -> Vec<Route> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        transfers.iter().map(|transfer| self.route(&mut numbers, transfer)).collect()
    }

    fn route(&self, numbers: &mut Numbers, transfer: &Transfer) -> Route {
        let is_send = matches!(transfer, Transfer::Send { .. });
        let count = &mut numbers.messages[transfer.peer()][usize::from(is_send)];
        let number = *count;
        *count += 1;
        let (own, peer) = (self.hub.rank, self.members[transfer.peer()]);
        let (from, to) = if is_send { (own, peer) } else { (peer, own) };
        Route { from, to, channel: self.channel, number }
    }

    fn next_split(&self, members: Vec<usize>) -> Split {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers.splits;
        numbers.splits += 1;
        Split { channel: self.channel, number, members }
    }
}

impl Link for MessageLink {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.members.len()
    }

    fn exchange(&self, stream: Stream, tag: Tag, transfers: &[Transfer]) -> Result<()> {
        self.hub.check()?;
        let size = self.size();
        transfers.iter().try_for_each(|transfer| expect_rank("exchange", transfer.peer(), size))?;
        let mut expected = Vec::new();
        for (route, transfer) in self.routes(transfers).into_iter().zip(transfers) {
            match transfer {
                Transfer::Send { from, .. } => self.hub.send(stream, &tag, route, from)?,
                Transfer::Receive { to, .. } => expected.push(Expected { route, to: to.clone() }),
            }
        }
        let received = self.hub.receive(stream, &tag, expected);
        self.hub.hand_over();
        received
    }

    fn split(&self, members: &[usize]) -> Result<Arc<dyn Link>> {
        let rank = expect_members(self, members)?;
        let members: Vec<_> = members.iter().map(|&member| self.members[member]).collect();
        let split = self.next_split(members.clone());
        let channel = split.of_group();
        self.hub.split(split)?;
        Ok(Arc::new(Self::among(self.hub.clone(), channel, members, rank)))
    }

    fn abort(&self, error: LinkError) {
        self.hub.abort(error);
    }
}
