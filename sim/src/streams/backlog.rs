//! The streams' queues, and who goes first: the one of the highest priority among those that can go on. Priorities are
//! random and change at random, which finds every order of two pieces of work with a fair chance.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use fp8lm_device::{Error, Event, Result, Stream};

use super::{dice::Dice, task::Task};
use crate::{Emulator, world::Flight};

/// All streams of a device.
#[derive(Debug)]
pub(super) struct Backlog {
    tracks: Vec<Track>,
    /// Events that have not happened.
    pending: HashSet<Event>,
    /// Events behind work that failed.
    failed: HashMap<Event, Arc<Error>>,
    dice: Dice,
    /// How often, of 16 times, enqueueing work gets some of it done.
    haste: u64,
}

/// One stream.
#[derive(Debug)]
struct Track {
    tasks: VecDeque<Task>,
    /// The exchange that it is in.
    flight: Option<Flight>,
    priority: u64,
    /// The first error since somebody asked.
    fault: Option<Arc<Error>>,
}

impl Backlog {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let haste = HASTE[(dice.next() % HASTE.len() as u64) as usize];
        Self { tracks: Vec::new(), pending: HashSet::new(), failed: HashMap::new(), dice, haste }
    }

    /// Another stream.
    pub(super) fn open(&mut self) {
        let priority = self.dice.next();
        self.tracks.push(Track { tasks: VecDeque::new(), flight: None, priority, fault: None });
    }

    pub(super) fn enqueue(&mut self, stream: Stream, task: Task, emulator: &Emulator) {
        if let Task::Record(event) = &task {
            self.pending.insert(*event);
        }
        self.track(stream).tasks.push_back(task);
        if self.dice.chance(self.haste, 16) {
            self.step(emulator);
        }
    }

    /// Whether `stream` has nothing left to do, or no stream has.
    pub(super) fn are_idle(&self, stream: Option<Stream>) -> bool {
        match stream {
            Some(stream) => self.tracks[stream.0 as usize].is_idle(),
            None => self.tracks.iter().all(Track::is_idle),
        }
    }

    /// Does one piece of work, or finds that an exchange is over. False if nothing can be done for now.
    pub(super) fn step(&mut self, emulator: &Emulator) -> bool {
        let mut landed = false;
        self.tracks.iter_mut().for_each(|track| landed |= track.land());
        let runnable = (0..self.tracks.len()).filter(|&index| self.can_run(index));
        let Some(index) = runnable.max_by_key(|&index| self.tracks[index].priority) else {
            return landed;
        };
        self.advance(index, emulator);
        if self.dice.chance(1, CHANGES) {
            self.tracks[index].priority = self.dice.next();
        }
        true
    }

    /// The exchanges that streams are in.
    pub(super) fn flights(&self) -> Vec<Flight> {
        self.tracks.iter().filter_map(|track| track.flight.clone()).collect()
    }

    /// The first error of a stream since it was asked last.
    pub(super) fn report(&mut self, operation: &'static str, stream: Stream) -> Result<()> {
        let fault = self.track(stream).fault.take();
        fault.map_or(Ok(()), |fault| Err(tell(fault, operation)))
    }

    /// An error that nobody has asked for.
    pub(super) fn report_any(&mut self) -> Result<()> {
        (0..self.tracks.len() as u32)
            .map(Stream)
            .try_for_each(|stream| self.report("synchronize", stream))
    }

    /// Drops all work, as if it were done, and forgets what failed.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
        self.failed.clear();
        for track in &mut self.tracks {
            track.tasks.clear();
            track.flight = None;
            track.fault = None;
        }
    }

    fn can_run(&self, index: usize) -> bool {
        let track = &self.tracks[index];
        track.flight.is_none()
            && match track.tasks.front() {
                Some(Task::Wait(event)) => !self.pending.contains(event),
                task => task.is_some(),
            }
    }

    /// Does the first piece of a stream's work. Behind an error nothing is done, but events happen.
    fn advance(&mut self, index: usize, emulator: &Emulator) {
        let track = &mut self.tracks[index];
        let has_failed = track.fault.is_some();
        match track.tasks.pop_front() {
            Some(Task::Record(event)) => {
                self.pending.remove(&event);
                self.failed.extend(track.fault.clone().map(|fault| (event, fault)));
            }
            Some(Task::Wait(event)) => {
                self.failed.get(&event).into_iter().for_each(|error| track.fail(error.clone()));
            }
            Some(Task::Exchange(call)) if !has_failed => track.depart(call.post()),
            Some(task) if !has_failed => {
                let result = task.run(Stream(index as u32), emulator);
                result.unwrap_or_else(|error| track.fail(Arc::new(error)));
            }
            _ => {}
        }
    }

    fn track(&mut self, stream: Stream) -> &mut Track {
        &mut self.tracks[stream.0 as usize]
    }
}

impl Track {
    fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.flight.is_none()
    }

    fn depart(&mut self, flight: Result<Flight>) {
        match flight {
            Ok(flight) => self.flight = Some(flight),
            Err(error) => self.fail(Arc::new(error)),
        }
    }

    /// Whether its exchange is over.
    fn land(&mut self) -> bool {
        let Some(flight) = &self.flight else { return false };
        match flight.has_landed() {
            Ok(false) => return false,
            Ok(true) => {}
            Err(error) => self.fail(Arc::new(error)),
        }
        self.flight = None;
        true
    }

    /// The first error stays.
    fn fail(&mut self, error: Arc<Error>) {
        self.fault.get_or_insert(error);
    }
}

/// The error as it was, unless other streams may yet tell of it.
fn tell(fault: Arc<Error>, operation: &'static str) -> Error {
    if let Error::Link(error) = &*fault {
        return error.clone().into();
    }
    let shared = |fault| Error::Failed { operation, source: Box::new(fault) };
    Arc::try_unwrap(fault).unwrap_or_else(shared)
}

/// Of 16: mostly as late as can be.
const HASTE: [u64; 4] = [0, 0, 1, 6];
/// How many pieces of work there are to a change of priority.
const CHANGES: u64 = 8;
