//! The device itself.

use std::sync::Arc;

use fp8lm_device::{
    Device, Error as DeviceError, Event, Label, Launch, Memory, Properties, Result, Stream, View,
};
use fp8lm_kernels::{Code, Cuda, Extents, abi::Packed};
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

    fn run(&self, stream: Stream, launch: &Launch) -> Result<()> {
        let kernel = fp8lm_kernels::check(launch)?;
        let Code::Cuda(cuda) = &kernel.code else {
            return self.emulator.launch(stream, std::slice::from_ref(launch));
        };
        let extents = Extents::new(kernel, launch);
        (cuda.check)(&extents)?;
        self.emulator.bind(stream, launch, |bound| self.run_entries(cuda, &extents, launch, bound))
    }

    fn run_entries(
        &self,
        cuda: &Cuda,
        extents: &Extents<'_>,
        launch: &Launch,
        bound: &Bound<'_>,
    ) -> Result<()> {
        let mut scratch = cuda.scratch.map(|bytes| vec![GARBAGE; bytes(extents).div_ceil(8)]);
        let scratch =
            scratch.as_mut().map(|scratch| scratch.as_mut_ptr().expose_provenance() as u64);
        // SAFETY: the views of the launch lie at these addresses, which `bound` keeps every other access away from.
        let exact = || unsafe { Exact::copy(launch, bound.addresses()) };
        let mut exact = self.is_exact.then(exact);
        let copies = exact.as_mut().map(Exact::addresses);
        let addresses = copies.as_deref().unwrap_or(bound.addresses());
        let args = Packed::new(launch, addresses, scratch);
        for entry in cuda.entries {
            let function = self.entries.get(entry.name);
            let function = function.ok_or(DeviceError::UnknownKernel { kernel: entry.name })?;
            run_grid(function, &args, (entry.grid)(extents), entry.block, bound);
        }
        exact.into_iter().for_each(Exact::write_back);
        Ok(())
    }
}

/// Runs all blocks, shared out over the threads.
fn run_grid(function: HostEntry, args: &Packed, blocks: usize, block: u32, bound: &Bound<'_>) {
    let grid = u32::try_from(blocks).expect("a grid has at most 2^31 - 1 blocks");
    bound.share(blocks, |range| {
        let (first, last) = (range.start as u32, range.end as u32);
        // SAFETY: the arguments are those of the kernel that the entry belongs to, as `check` and the kernel's own
        // check have found, and `bound` keeps every other access to their memory away.
        unsafe { function(args.as_ptr(), grid, block, first, last) }
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
        launches.iter().try_for_each(|launch| self.run(stream, launch))
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
