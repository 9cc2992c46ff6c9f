//! The transport over MPI: point-to-point messages that nobody waits for, on a communicator of its own.

use std::{collections::VecDeque, os::raw::c_int};

use mpi::{
    Threading,
    environment::Universe,
    ffi,
    raw::AsRaw,
    topology::{Color, Communicator, SimpleCommunicator},
};

use crate::{Arrival, Error, Transport};

/// This process's end of MPI, from its start to its end.
pub struct Mpi {
    /// Before `universe`, so that it is freed first.
    world: Option<SimpleCommunicator>,
    universe: Option<Universe>,
    neighbours: Neighbours,
    rank: usize,
    size: usize,
    /// The most bytes of a message that go at once.
    part: usize,
    sends: Vec<Pending>,
    /// By rank, in the order in which they were sent.
    receives: Vec<VecDeque<Pending>>,
    arrived: VecDeque<Arrival>,
}

/// The processes around this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// Processes on this host, itself among them.
    pub on_host: usize,
    /// Those of them that may run on the same cores.
    pub on_cores: usize,
}

/// A part of a message under way, and the memory that MPI uses for it.
struct Pending {
    request: ffi::MPI_Request,
    bytes: Vec<u8>,
    is_last: bool,
    is_done: bool,
}

// SAFETY: MPI was started with MPI_THREAD_SERIALIZED or more, so any thread may use its handles as long as no two
// threads call MPI at once. Every call takes `&mut self` or consumes a value that is made once a process.
unsafe impl Send for Mpi {}

impl Mpi {
    /// Starts MPI, with all processes that were started together.
    pub fn start() -> Result<Self, Error> {
        let started = mpi::initialize_with_threading(Threading::Serialized);
        let (universe, threading) = started.ok_or(Error::StartedBefore)?;
        match threading {
            Threading::Single => return Err(Error::Threads { got: "MPI_THREAD_SINGLE" }),
            Threading::Funneled => return Err(Error::Threads { got: "MPI_THREAD_FUNNELED" }),
            Threading::Serialized | Threading::Multiple => {}
        }
        let world = universe.world().duplicate();
        let neighbours = Neighbours::of(&world);
        // SAFETY: the communicator is alive, and the handler is MPI's own.
        let code =
            unsafe { ffi::MPI_Comm_set_errhandler(world.as_raw(), ffi::RSMPI_ERRORS_RETURN) };
        expect("MPI_Comm_set_errhandler", code)?;
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        let receives = (0..size).map(|_| VecDeque::new()).collect();
        let (world, universe) = (Some(world), Some(universe));
        let (sends, arrived) = (Vec::new(), VecDeque::new());
        let part = LONGEST;
        Ok(Self { world, universe, neighbours, rank, size, part, sends, receives, arrived })
    }

    /// Sends messages in parts of so many bytes from now on, at most of 1 GiB: MPI counts with a C int.
    pub fn set_part(&mut self, bytes: usize) {
        self.part = bytes.clamp(1, LONGEST);
    }

    /// The processes on this host.
    pub fn neighbours(&self) -> Neighbours {
        self.neighbours
    }

    /// Takes up all messages that peers have begun to send.
    fn accept(&mut self) -> Result<(), Error> {
        let Some(world) = &self.world else { return Ok(()) };
        while let Some((from, pending)) = receive(world)? {
            self.receives[from].push_back(pending);
        }
        Ok(())
    }

    /// Hands over what has arrived from a rank, in order.
    fn collect(&mut self, from: usize) -> Result<(), Error> {
        let pending = &mut self.receives[from];
        for part in pending.iter_mut() {
            part.test()?;
        }
        while let Some(parts) = whole(pending) {
            let mut parts = pending.drain(..parts).map(|part| part.bytes);
            let mut message = parts.next().unwrap_or_default();
            parts.for_each(|part| message.extend(part));
            self.arrived.push_back(Arrival { from, message });
        }
        Ok(())
    }
}

impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn send(&mut self, to: usize, mut message: Vec<u8>) -> Result<(), Error> {
        let Some(world) = &self.world else { return Err(Error::Gone { rank: to }) };
        while message.len() > self.part {
            let rest = message.split_off(self.part);
            self.sends.push(send(world, to, message, MORE)?);
            message = rest;
        }
        let mut last = send(world, to, message, LAST)?;
        last.test()?;
        // Short ones have left by now.
        if !last.is_done {
            self.sends.push(last);
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Arrival>, Error> {
        if self.arrived.is_empty() {
            self.accept()?;
            (0..self.size).try_for_each(|from| self.collect(from))?;
            for part in &mut self.sends {
                part.test()?;
            }
            self.sends.retain(|part| !part.is_done);
        }
        Ok(self.arrived.pop_front())
    }

    fn outstanding(&self) -> usize {
        self.sends.len()
    }

    fn close(&mut self) -> Result<(), Error> {
        drop(self.world.take());
        drop(self.universe.take());
        Ok(())
    }
}

impl Drop for Mpi {
    /// Leaves MPI as it is, unless it was closed: its end waits for all ranks, and some may never come. What MPI may
    /// still read or write stays where it is.
    fn drop(&mut self) {
        std::mem::forget((self.world.take(), self.universe.take()));
        std::mem::forget((std::mem::take(&mut self.sends), std::mem::take(&mut self.receives)));
    }
}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rank, size, neighbours, .. } = self;
        write!(f, "Mpi {{ rank: {rank}, size: {size}, {neighbours:?} }}")
    }
}

impl Neighbours {
    /// Every process of `world` calls it.
    fn of(world: &SimpleCommunicator) -> Self {
        let host = world.split_shared(world.rank());
        let cores = host.split_by_color(Color::with_value(cores()));
        let on_cores = cores.map_or(1, |cores| cores.size() as usize);
        Self { on_host: host.size() as usize, on_cores }
    }
}

/// A number for the cores that this process may run on: the same for the same cores.
fn cores() -> c_int {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("Cpus_allowed_list"));
    let hash = xxhash_rust::xxh3::xxh3_64(line.unwrap_or_default().as_bytes());
    // A colour is at least 0.
    (hash >> 33) as c_int
}

impl Pending {
    /// Looks whether it is done.
    fn test(&mut self) -> Result<(), Error> {
        if self.is_done {
            return Ok(());
        }
        let mut flag = 0;
        // SAFETY: the request is live, as MPI_Test has not found it done yet, and both pointers are to this function's
        // own memory or to none.
        let code = unsafe { ffi::MPI_Test(&mut self.request, &mut flag, ffi::RSMPI_STATUS_IGNORE) };
        expect("MPI_Test", code)?;
        self.is_done = flag != 0;
        Ok(())
    }
}

/// How many parts from the first on are a message that has arrived whole.
fn whole(parts: &VecDeque<Pending>) -> Option<usize> {
    let last = parts.iter().take_while(|part| part.is_done).position(|part| part.is_last);
    last.map(|last| last + 1)
}

/// Begins to send a part.
fn send(
    world: &SimpleCommunicator,
    to: usize,
    bytes: Vec<u8>,
    tag: c_int,
) -> Result<Pending, Error> {
    // SAFETY: a handle without meaning, which MPI_Isend replaces.
    let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
    // SAFETY: `bytes` lives in a vector that is neither changed nor dropped before MPI_Test finds the request done; its
    // length is at most LONGEST, which a C int holds.
    let code = unsafe {
        ffi::MPI_Isend(
            bytes.as_ptr().cast(),
            bytes.len() as c_int,
            ffi::RSMPI_UINT8_T,
            to as c_int,
            tag,
            world.as_raw(),
            &mut request,
        )
    };
    expect("MPI_Isend", code)?;
    Ok(Pending { request, bytes, is_last: tag == LAST, is_done: false })
}

/// Begins to receive a part, if a peer has begun to send one.
fn receive(world: &SimpleCommunicator) -> Result<Option<(usize, Pending)>, Error> {
    let mut flag = 0;
    // SAFETY: handles and a status without meaning, which MPI_Improbe fills in if it finds a message.
    let (mut message, mut status) =
        unsafe { (ffi::RSMPI_MESSAGE_NULL, std::mem::zeroed::<ffi::MPI_Status>()) };
    // SAFETY: the communicator is alive, and all pointers are to this function's own memory.
    let code = unsafe {
        let (source, tag) = (ffi::RSMPI_ANY_SOURCE, ffi::RSMPI_ANY_TAG);
        ffi::MPI_Improbe(source, tag, world.as_raw(), &mut flag, &mut message, &mut status)
    };
    expect("MPI_Improbe", code)?;
    if flag == 0 {
        return Ok(None);
    }
    let mut count = 0;
    // SAFETY: MPI_Improbe has filled the status in.
    let code = unsafe { ffi::MPI_Get_count(&status, ffi::RSMPI_UINT8_T, &mut count) };
    expect("MPI_Get_count", code)?;
    let mut bytes = vec![0; count as usize];
    // SAFETY: as in `send`.
    let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
    // SAFETY: `bytes` has room for all of the message, and is neither touched nor dropped before MPI_Test finds the
    // request done.
    let code = unsafe {
        let to = bytes.as_mut_ptr().cast();
        ffi::MPI_Imrecv(to, count, ffi::RSMPI_UINT8_T, &mut message, &mut request)
    };
    expect("MPI_Imrecv", code)?;
    let pending = Pending { request, bytes, is_last: status.MPI_TAG == LAST, is_done: false };
    Ok(Some((status.MPI_SOURCE as usize, pending)))
}

/// MPI's own words for what went wrong.
fn expect(operation: &'static str, code: c_int) -> Result<(), Error> {
    if code == 0 {
        return Ok(());
    }
    let (mut text, mut length) = (vec![0u8; LONGEST_ERROR], 0);
    // SAFETY: the buffer is longer than MPI_MAX_ERROR_STRING of every implementation.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast(), &mut length) };
    text.truncate(length as usize);
    Err(Error::Call { operation, reason: String::from_utf8_lossy(&text).into_owned() })
}

const LONGEST: usize = 1 << 30;
/// The tag of a part that others follow, and of the last.
const MORE: c_int = 1;
const LAST: c_int = 0;
const LONGEST_ERROR: usize = 8192;
