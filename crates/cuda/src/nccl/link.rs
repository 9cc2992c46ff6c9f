//! A rank's link over NCCL.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use fp8lm_device::{
    Collectives, Device, Error as DeviceError, Label, Link, LinkError, Queue, Result, Stream, Tag,
    Transfer, View, expect_members, expect_rank,
};
use nccl_rs::Nccl;

use super::{
    NcclOptions, Seat,
    calls::Calls,
    collectives::NcclCollectives,
    comm::Comm,
    exchange::Sorted,
    operation::Operation,
    world::{Shared, World},
};
use crate::{CudaDevice, device::Lane, memory::Bound};

/// One end of a link between GPUs, each of which has a rank of its own.
///
/// An exchange is one group of sends and receives on its stream. Groups that the link is split into have communicators
/// of their own. A link for messages has one for each of its ranks, which carries what that rank sends: NCCL does what
/// is on one communicator in the order of calls, whatever the streams, and so a rank that sends would hold up what it
/// receives.
///
/// # Failures
/// NCCL carries no names. Ranks in different collectives wait for one another, or get other bytes than they meant to,
/// and where they wait a watchdog ends it: its error names the rank, what it does, and with whom. Other ranks learn of
/// a failure from NCCL, or by their own watchdog. Whatever waits for the device then fails with the same error.
#[derive(Clone, Debug)]
pub struct NcclLink {
    world: Arc<World>,
    lines: Lines,
    pub(super) rank: usize,
    /// What this rank sent to itself and has not received yet.
    kept: Arc<Mutex<VecDeque<View>>>,
}

/// What carries transfers.
#[derive(Clone, Debug)]
enum Lines {
    /// One communicator.
    Group(Arc<Comm>),
    /// One for what each rank sends, all of them with the same ranks.
    Channel(Vec<Arc<Comm>>),
}

impl NcclLink {
    /// Joins all other ranks, and waits until they have come. The device is this rank's, and no other rank has it.
    ///
    /// # Errors
    /// If NCCL is too old, or refuses, or not all ranks have joined when the time is up.
    pub fn join(
        nccl: &Nccl,
        device: &Arc<CudaDevice>,
        seat: &Seat,
        options: NcclOptions,
    ) -> Result<Self> {
        let (world, comm) = World::join(nccl, device, seat, options)?;
        let (lines, kept) = (Lines::Group(comm), Arc::default());
        Ok(Self { world: Arc::new(world), lines, rank: seat.rank, kept })
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.world.shared()
    }

    pub(super) fn device(&self) -> &Arc<CudaDevice> {
        &self.shared().device
    }

    /// The communicator of a group.
    pub(super) fn comm(&self) -> &Arc<Comm> {
        match &self.lines {
            Lines::Group(comm) => comm,
            Lines::Channel(comms) => &comms[0],
        }
    }

    /// The ranks of a call, as those of the world.
    pub(super) fn operation(&self, tag: Tag, peers: &[usize]) -> Operation {
        let members = self.comm().members();
        Operation { tag, peers: peers.iter().map(|peer| members[*peer]).collect() }
    }

    /// All ranks but this one.
    pub(super) fn others(&self) -> Vec<usize> {
        (0..self.size()).filter(|rank| *rank != self.rank).collect()
    }

    /// Has NCCL carry transfers, those of one communicator as one group.
    fn carry(&self, lane: &Lane, tag: Tag, sorted: &Sorted<'_>) -> Result<()> {
        match &self.lines {
            Lines::Group(comm) => self.carry_on(comm, lane, tag, &sorted.carried),
            Lines::Channel(comms) => comms.iter().enumerate().try_for_each(|(sender, comm)| {
                let is_theirs = |transfer: &&Transfer| match transfer {
                    Transfer::Send { .. } => sender == self.rank,
                    Transfer::Receive { peer, .. } => sender == *peer,
                };
                let theirs: Vec<_> = sorted.carried.iter().copied().filter(is_theirs).collect();
                self.carry_on(comm, lane, tag, &theirs)
            }),
        }
    }

    fn carry_on<'t>(
        &self,
        comm: &Arc<Comm>,
        lane: &Lane,
        tag: Tag,
        transfers: &[&'t Transfer],
    ) -> Result<()> {
        if transfers.is_empty() {
            return Ok(());
        }
        let bind = |view: &'t View| self.device().bind("exchange", lane, view);
        let (mut sends, mut receives) = (Vec::new(), Vec::new());
        for transfer in transfers {
            match transfer {
                Transfer::Send { peer, from } => sends.push((bind(from)?, *peer)),
                Transfer::Receive { peer, to } => receives.push((bind(to)?, *peer)),
            }
        }
        let mut peers: Vec<_> = transfers.iter().map(|transfer| transfer.peer()).collect();
        peers.sort_unstable();
        peers.dedup();
        let operation = self.operation(tag, &peers);
        self.shared().enqueue(comm, lane, operation, |calls| all_at_once(calls, &sends, &receives))
    }

    /// What this rank sends to itself in one call and receives in another: kept in between.
    fn turn_round(&self, stream: Stream, sorted: &Sorted<'_>) -> Result<()> {
        let device = self.device();
        // The list stays whole after a panic elsewhere: each operation on it is one call.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for to in &sorted.given {
            let Some(from) = kept.pop_front() else {
                let source = format!("rank {} has sent nothing to itself", self.rank).into();
                return Err(DeviceError::Failed { operation: "exchange", source });
            };
            device.copy(stream, &from, to)?;
        }
        for from in &sorted.kept {
            let memory = device.alloc(stream, from.bytes(), COMMUNICATION)?;
            let copy = View::new(memory, from.dtype(), from.elements());
            device.copy(stream, from, &copy)?;
            kept.push_back(copy);
        }
        Ok(())
    }
}

impl Link for NcclLink {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.comm().members().len()
    }

    fn exchange(&self, stream: Stream, tag: Tag, transfers: &[Transfer]) -> Result<()> {
        self.shared().check()?;
        let size = self.size();
        transfers.iter().try_for_each(|transfer| expect_rank("exchange", transfer.peer(), size))?;
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).len();
        let sorted = Sorted::new(self.rank, transfers, kept);
        let lane = self.device().lane("exchange", stream)?;
        self.turn_round(stream, &sorted)?;
        self.carry(&lane, tag, &sorted)
    }

    /// A group of all ranks in their order is this one again, on the same communicator.
    fn split(&self, members: &[usize]) -> Result<Arc<dyn Link>> {
        let rank = expect_members(self, members)?;
        if members.iter().copied().eq(0..self.size()) {
            return Ok(Arc::new(self.clone()));
        }
        let lines = Lines::Group(self.split_comm(self.comm(), members)?);
        Ok(Arc::new(Self { world: self.world.clone(), lines, rank, kept: Arc::default() }))
    }

    fn channel(&self, members: &[usize]) -> Result<Arc<dyn Link>> {
        let rank = expect_members(self, members)?;
        let first = self.split_comm(self.comm(), members)?;
        let (world, kept) = (self.world.clone(), Arc::default());
        let mut link = Self { world, lines: Lines::Group(first.clone()), rank, kept };
        let everybody: Vec<_> = (0..members.len()).collect();
        let mut comms = vec![first.clone()];
        for _ in 1..members.len() {
            comms.push(link.split_comm(&first, &everybody)?);
        }
        link.lines = Lines::Channel(comms);
        link.connect()?;
        Ok(Arc::new(link))
    }

    fn native(&self, queue: &Queue) -> Option<Arc<dyn Collectives>> {
        Some(Arc::new(NcclCollectives::new(self.clone(), queue.clone())))
    }

    /// Ends this rank's work. Other ranks hear of it from NCCL, and not why.
    fn abort(&self, error: LinkError) {
        let _ = self.shared().fail(error);
    }
}

/// Transfers that go on all at once, as they are in one group.
fn all_at_once(
    calls: &Calls<'_>,
    sends: &[(Bound<'_>, usize)],
    receives: &[(Bound<'_>, usize)],
) -> nccl_rs::Result<()> {
    sends.iter().try_for_each(|(from, peer)| calls.send(from, *peer))?;
    receives.iter().try_for_each(|(to, peer)| calls.receive(to, *peer))
}

/// What messages are kept in.
pub(super) const COMMUNICATION: Label = Label("communication");
