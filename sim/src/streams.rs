//! A device that does all that events allow, and so shows what a program forgot to wait for.

mod backlog;
mod dice;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fp8lm_device::{
    DType, Device, Error, Event, Label, Launch, Memory, Properties, Result, Stream, View,
};

use self::{backlog::Backlog, task::Task};
use crate::{
    Emulator,
    world::{Call, Flight},
};

/// An emulator whose streams run late and in an odd order that a seed chooses.
///
/// Work is queued, and runs at the latest when something waits for it; which stream goes first, and how far beyond the
/// need, the seed decides. Fresh memory is full of bytes 0xFF, which are NaN in every format of ours. A program that
/// waits for all that it depends on gets the bits of an [`Emulator`]; one that forgets to gets others for some seed.
///
/// What is wrong with a call, the call says; what fails later, [`download`](Device::download) and
/// [`synchronize`](Device::synchronize) of its stream say once, and those of each stream that waits for it. Until then
/// nothing more runs on the stream.
///
/// Limits: nothing runs but in calls to the device. An exchange goes out at the latest in the rank's next wait, so a
/// host that waits for a peer by other means than its device waits in vain.
#[derive(Debug)]
pub struct Adversarial {
    emulator: Arc<Emulator>,
    backlog: Mutex<Backlog>,
}

impl Adversarial {
    /// A sibling of `emulator` whose order `seed` chooses.
    pub fn new(emulator: &Emulator, seed: u64) -> Self {
        let emulator = Arc::new(emulator.sibling());
        Self { emulator, backlog: Mutex::new(Backlog::new(seed)) }
    }

    /// The device that does the work.
    pub(crate) fn emulator(&self) -> &Arc<Emulator> {
        &self.emulator
    }

    /// Enqueues an exchange whose views were checked.
    pub(crate) fn exchange(&self, stream: Stream, call: Call) {
        self.enqueue(stream, Task::Exchange(call));
    }

    /// Does all work, and reports the first error that nobody has heard of.
    pub(crate) fn finish(&self) -> Result<()> {
        self.drain(None);
        self.lock().report_any()
    }

    /// Forgets all work.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn enqueue(&self, stream: Stream, task: Task) {
        self.lock().enqueue(stream, task, &self.emulator);
    }

    /// Runs until `stream` is idle, or all are. Before it waits for a peer it does all else that can be done, and it
    /// holds no lock while it waits.
    fn drain(&self, stream: Option<Stream>) {
        while let Some(flights) = self.work(stream) {
            // A failure reaches the streams of all flights in the next round.
            let _ = Flight::wait_any(&flights);
        }
    }

    /// Works while something can be done; the exchanges to wait for, if that was not enough.
    fn work(&self, stream: Option<Stream>) -> Option<Vec<Flight>> {
        let mut backlog = self.lock();
        while !backlog.are_idle(stream) {
            if !backlog.step(&self.emulator) {
                let flights = backlog.flights();
                assert!(!flights.is_empty(), "a stream waits for events that were recorded before");
                return Some(flights);
            }
        }
        None
    }

    /// Memory, after all work that can be done if there is not enough: it may keep some alive.
    fn take(&self, stream: Stream, bytes: usize, label: Label) -> Result<Arc<dyn Memory>> {
        match self.emulator.alloc(stream, bytes, label) {
            Err(Error::OutOfMemory { .. }) => {
                let mut backlog = self.lock();
                while backlog.step(&self.emulator) {}
                self.emulator.alloc(stream, bytes, label)
            }
            taken => taken,
        }
    }

    /// A panic in a kernel's twin loses the task and changes nothing else.
    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device for Adversarial {
    fn properties(&self) -> &Properties {
        self.emulator.properties()
    }

    fn stream(&self) -> Result<Stream> {
        let mut backlog = self.lock();
        let stream = self.emulator.stream()?;
        backlog.open();
        Ok(stream)
    }

    fn alloc(&self, stream: Stream, bytes: usize, label: Label) -> Result<Arc<dyn Memory>> {
        let memory = self.take(stream, bytes, label)?;
        let view = View::new(memory.clone(), DType::E4M3, bytes);
        for first in (0..bytes).step_by(POISON.len()) {
            let part = POISON.len().min(bytes - first);
            self.emulator.upload(stream, &POISON[..part], &view.slice(first, part))?;
        }
        Ok(memory)
    }

    fn launch(&self, stream: Stream, launches: &[Launch]) -> Result<()> {
        self.emulator.bind(stream, launches, |_| Ok(()))?;
        launches.iter().for_each(|launch| self.enqueue(stream, Task::Launch(launch.clone())));
        Ok(())
    }

    fn copy(&self, stream: Stream, from: &View, to: &View) -> Result<()> {
        self.emulator.expect_own("copy", stream, from)?;
        self.emulator.expect_own("copy", stream, to)?;
        expect_length("copy", to, from.bytes())?;
        self.enqueue(stream, Task::Copy { from: from.clone(), to: to.clone() });
        Ok(())
    }

    fn upload(&self, stream: Stream, from: &[u8], to: &View) -> Result<()> {
        self.emulator.expect_own("upload", stream, to)?;
        expect_length("upload", to, from.len())?;
        self.enqueue(stream, Task::Upload { bytes: from.to_vec(), to: to.clone() });
        Ok(())
    }

    fn download(&self, stream: Stream, from: &View, to: &mut [u8]) -> Result<()> {
        self.emulator.expect_own("download", stream, from)?;
        self.drain(Some(stream));
        self.lock().report("download", stream)?;
        self.emulator.download(stream, from, to)
    }

    fn record(&self, stream: Stream) -> Result<Event> {
        let event = self.emulator.record(stream)?;
        self.enqueue(stream, Task::Record(event));
        Ok(event)
    }

    fn wait(&self, stream: Stream, event: &Event) -> Result<()> {
        self.emulator.wait(stream, event)?;
        self.enqueue(stream, Task::Wait(*event));
        Ok(())
    }

    fn synchronize(&self, stream: Stream) -> Result<()> {
        self.emulator.synchronize(stream)?;
        self.drain(Some(stream));
        self.lock().report("synchronize", stream)
    }
}

fn expect_length(operation: &'static str, view: &View, got: usize) -> Result<()> {
    let expected = view.bytes();
    if expected == got { Ok(()) } else { Err(Error::Length { operation, expected, got }) }
}

static POISON: [u8; 16 << 10] = [0xFF; 16 << 10];
