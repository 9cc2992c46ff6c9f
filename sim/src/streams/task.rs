//! A piece of a stream's work. It owns what it works on.

use fp8lm_device::{Device, Event, Launch, Result, Stream, View};

use crate::{Emulator, world::Call};

#[derive(Debug)]
pub(super) enum Task {
    Launch(Launch),
    Copy { from: View, to: View },
    Upload { bytes: Vec<u8>, to: View },
    Record(Event),
    Wait(Event),
    Exchange(Call),
}

impl Task {
    /// Does the work of tasks that are the device's own business.
    pub(super) fn run(self, stream: Stream, emulator: &Emulator) -> Result<()> {
        match self {
            Task::Launch(launch) => emulator.launch(stream, &[launch]),
            Task::Copy { from, to } => emulator.copy(stream, &from, &to),
            Task::Upload { bytes, to } => emulator.upload(stream, &bytes, &to),
            Task::Record(_) | Task::Wait(_) | Task::Exchange(_) => Ok(()),
        }
    }
}
