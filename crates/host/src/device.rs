//! The device itself.

use std::sync::Arc;

use fp8lm_device::{
    Device, Error as DeviceError, Event, Label, Launch, Memory, Properties, Result, Stream, View,
};
use fp8lm_kernels::{Call, Code, Part, Run, runs};
use fp8lm_sim::{Bound, Emulator};

use crate::{
    Error, Options, Sanitizer, compile,
    exact::Exact,
    library::{Entries, HostEntry},
};

/// A device on the CPU that runs the CUDA kernels.
#[derive(Debug)]
pub struct HostKernels {
    properties: Properties,
    emulator: Emulator,
    entries: Entries,
    /// Whether each argument of a launch gets an allocation of its own.
    is_exact: bool,
}

impl HostKernels {
    /// Compiles the kernels, unless the cache has them; memory and threads are those of a default emulator.
    pub fn new(options: &Options) -> std::result::Result<Self, Error> {
        Self::with(Emulator::default(), options)
    }

    /// The same on the memory and threads of `emulator`.
    pub fn with(emulator: Emulator, options: &Options) -> std::result::Result<Self, Error> {
        let entries = Entries::load(&compile::library(options)?)?;
        let properties =
            Properties { name: "CUDA kernels on the CPU".into(), ..emulator.properties().clone() };
        let is_exact = options.sanitizer == Some(Sanitizer::Address);
        Ok(Self { properties, emulator, entries, is_exact })
    }

    fn run(&self, stream: Stream, run: &Run<'_>) -> Result<()> {
        let Code::Cuda(cuda) = &run.kernel().code else {
            return self.emulator.launch(stream, run.launches());
        };
        self.emulator.bind(stream, run.launches(), |bound| {
            run.parts(cuda, bound.addresses()).try_for_each(|part| self.run_part(&part, bound))
        })
    }

    fn run_part(&self, part: &Part<'_>, bound: &Bound<'_>) -> Result<()> {
        let mut exact = if self.is_exact { copies(part) } else { Vec::new() };
        let addresses: Vec<_> = exact.iter_mut().map(Exact::addresses).collect();
        let part = if self.is_exact { part.at(&addresses) } else { *part };
        let mut scratch = part.scratch_bytes().map(|bytes| vec![GARBAGE; bytes.div_ceil(8)]);
        let scratch =
            scratch.as_mut().map(|scratch| scratch.as_mut_ptr().expose_provenance() as u64);
        let pack = part.pack(scratch);
        let table = pack.table().as_ptr().expose_provenance() as u64;
        for call in pack.calls(table) {
            let function = self.entries.get(call.name);
            let function = function.ok_or(DeviceError::UnknownKernel { kernel: call.name })?;
            run_grid(function, &call, bound);
        }
        exact.into_iter().for_each(Exact::write_back);
        Ok(())
    }
}

/// The memory of a part's launches, which is lent.
fn copies<'a>(part: &Part<'a>) -> Vec<Exact<'a>> {
    let launches = part.launches().iter().zip(part.addresses());
    // SAFETY: a part's addresses are those that the emulator has lent, at which the views of its launches lie. Its lock
    // keeps every other access away, and no launch of the part accesses what another writes.
    launches.map(|(launch, addresses)| unsafe { Exact::copy(launch, addresses) }).collect()
}

/// Runs all blocks, shared out over the threads.
fn run_grid(function: HostEntry, call: &Call<'_>, bound: &Bound<'_>) {
    let grid = u32::try_from(call.grid).expect("a grid has at most 2^31 - 1 blocks");
    bound.share(call.grid, |range| {
        let (first, last) = (range.start as u32, range.end as u32);
        // SAFETY: the arguments are those of the function, and of a kernel whose launches `runs` has checked; `bound`
        // keeps every other access to their memory away, and of launches that run at once none writes what another
        // touches. Table and scratch live as long as the call.
        unsafe { function(call.args.as_ptr(), grid, call.block, first, last) }
    });
}

impl Device for HostKernels {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn stream(&self) -> Result<Stream> {
        self.emulator.stream()
    }

    fn alloc(&self, stream: Stream, bytes: usize, label: Label) -> Result<Arc<dyn Memory>> {
        self.emulator.alloc(stream, bytes, label)
    }

    fn launch(&self, stream: Stream, launches: &[Launch]) -> Result<()> {
        runs(launches).try_for_each(|run| self.run(stream, &run?))
    }

    fn copy(&self, stream: Stream, from: &View, to: &View) -> Result<()> {
        self.emulator.copy(stream, from, to)
    }

    fn upload(&self, stream: Stream, from: &[u8], to: &View) -> Result<()> {
        self.emulator.upload(stream, from, to)
    }

    fn download(&self, stream: Stream, from: &View, to: &mut [u8]) -> Result<()> {
        self.emulator.download(stream, from, to)
    }

    fn record(&self, stream: Stream) -> Result<Event> {
        self.emulator.record(stream)
    }

    fn wait(&self, stream: Stream, event: &Event) -> Result<()> {
        self.emulator.wait(stream, event)
    }

    fn synchronize(&self, stream: Stream) -> Result<()> {
        self.emulator.synchronize(stream)
    }
}

/// What working memory holds at first: anything, on a GPU.
const GARBAGE: u64 = 0xA5A5_A5A5_A5A5_A5A5;
