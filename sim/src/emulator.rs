//! The device itself.

mod transfer;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    thread::available_parallelism,
};

use fp8lm_device::{Device, Error, Event, Label, Launch, Memory, Properties, Result, Stream, View};
use fp8lm_formats::Isa;

use crate::{
    args::{Args, address},
    bound::Bound,
    memory::Pool,
    twins,
    workers::Workers,
};

pub(crate) use transfer::Wire;

/// What an emulator is made of.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads that share a launch's work. No result depends on it.
    pub threads: usize,
    /// The instruction set. No result depends on it.
    pub isa: Isa,
    /// How many bytes may be allocated.
    pub memory_bytes: u64,
}

impl Default for Options {
    /// Every core, the best instruction set, all the memory of the machine.
    fn default() -> Self {
        let threads = available_parallelism().map_or(1, usize::from);
        Self { threads, isa: Isa::best(), memory_bytes: machine_memory().unwrap_or(u64::MAX) }
    }
}

/// A device on the CPU that computes what the table of kernels says, bit for bit.
#[derive(Debug)]
pub struct Emulator {
    properties: Properties,
    pool: Arc<Pool>,
    /// Held by whoever accesses the pool's memory; guards the threads as well.
    workers: Mutex<Workers>,
    streams: AtomicU32,
    events: AtomicU64,
}

impl Emulator {
    /// An emulator with these options.
    pub fn new(options: Options) -> Self {
        let Options { threads, isa, memory_bytes } = options;
        let name = format!("emulator, {threads} threads");
        Self::with(Properties { name, memory_bytes }, Workers::new(threads, isa))
    }

    /// Another emulator with the same options, memory of its own and the threads of this one, so
    /// that the ranks of a process share one pool of threads. Both may work at once.
    pub fn sibling(&self) -> Self {
        Self::with(self.properties.clone(), self.lock().sibling())
    }

    fn with(properties: Properties, workers: Workers) -> Self {
        Self {
            properties,
            pool: Arc::default(),
            workers: Mutex::new(workers),
            streams: AtomicU32::new(0),
            events: AtomicU64::new(0),
        }
    }

    /// Bytes taken from the system so far. Freed memory is kept for reuse, so the number stands
    /// still once a program repeats itself.
    pub fn system_bytes(&self) -> usize {
        self.pool.system_bytes()
    }

    /// Lends the memory of launches to `run`, after the checks that each itself would make but those of its twin.
    pub fn bind<T>(
        &self,
        stream: Stream,
        launches: &[Launch],
        run: impl FnOnce(&Bound<'_>) -> Result<T>,
    ) -> Result<T> {
        self.expect_stream("launch", stream)?;
        let workers = self.lock();
        let addresses = |launch| {
            let kernel = fp8lm_kernels::check(launch)?;
            // SAFETY: the lock on the workers is held, without which no call accesses the pool's memory.
            let args = unsafe { Args::bind(kernel, launch, &self.pool, workers.isa()) }?;
            Ok(args.addresses())
        };
        let addresses = launches.iter().map(addresses).collect::<Result<_>>()?;
        run(&Bound::new(addresses, &workers))
    }

    fn run(&self, launch: &Launch, workers: &Workers) -> Result<()> {
        let kernel = fp8lm_kernels::check(launch)?;
        let twin = twins::find(kernel.name).ok_or(Error::UnknownKernel { kernel: kernel.name })?;
        // SAFETY: the caller holds the lock on the workers, without which no call accesses the
        // pool's memory.
        let mut args = unsafe { Args::bind(kernel, launch, &self.pool, workers.isa()) }?;
        twin(&mut args, workers)
    }

    fn expect_stream(&self, operation: &'static str, stream: Stream) -> Result<()> {
        if stream.0 < self.streams.load(Relaxed) {
            return Ok(());
        }
        Err(Error::UnknownHandle { operation })
    }

    /// A panic in a twin leaves memory initialised, if half written: the lock stays usable.
    fn lock(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Emulator {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Device for Emulator {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn stream(&self) -> Result<Stream> {
        Ok(Stream(self.streams.fetch_add(1, Relaxed)))
    }

    fn alloc(&self, stream: Stream, bytes: usize, label: Label) -> Result<Arc<dyn Memory>> {
        self.expect_stream("alloc", stream)?;
        let limit = usize::try_from(self.properties.memory_bytes).unwrap_or(usize::MAX);
        let available = limit.saturating_sub(self.pool.live_bytes());
        if bytes > available {
            return Err(Error::OutOfMemory { label, bytes, available });
        }
        let memory = self.pool.take(bytes);
        Ok(Arc::new(memory.ok_or(Error::OutOfMemory { label, bytes, available })?))
    }

    fn launch(&self, stream: Stream, launches: &[Launch]) -> Result<()> {
        self.expect_stream("launch", stream)?;
        let workers = self.lock();
        launches.iter().try_for_each(|launch| self.run(launch, &workers))
    }

    fn copy(&self, stream: Stream, from: &View, to: &View) -> Result<()> {
        self.expect_stream("copy", stream)?;
        expect_length("copy", to.bytes(), from.bytes())?;
        let source = address(from, "copy", &self.pool)?;
        let target = address(to, "copy", &self.pool)?;
        let _workers = self.lock();
        // SAFETY: both views lie within live memory of this pool, `copy` allows them to overlap,
        // and the lock keeps every other access away.
        unsafe { std::ptr::copy(source, target, from.bytes()) };
        Ok(())
    }

    fn upload(&self, stream: Stream, from: &[u8], to: &View) -> Result<()> {
        self.expect_stream("upload", stream)?;
        expect_length("upload", to.bytes(), from.len())?;
        let target = address(to, "upload", &self.pool)?;
        let _workers = self.lock();
        // SAFETY: the view lies within live memory of this pool, which no host slice overlaps,
        // and the lock keeps every other access away.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), target, from.len()) };
        Ok(())
    }

    fn download(&self, stream: Stream, from: &View, to: &mut [u8]) -> Result<()> {
        self.expect_stream("download", stream)?;
        expect_length("download", from.bytes(), to.len())?;
        let source = address(from, "download", &self.pool)?;
        let _workers = self.lock();
        // SAFETY: the view lies within live memory of this pool, which no host slice overlaps,
        // and the lock keeps every other access away.
        unsafe { std::ptr::copy_nonoverlapping(source, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn record(&self, stream: Stream) -> Result<Event> {
        self.expect_stream("record", stream)?;
        Ok(Event(self.events.fetch_add(1, Relaxed)))
    }

    /// Work is done when its call returns, so there is nothing to wait for.
    fn wait(&self, stream: Stream, event: &Event) -> Result<()> {
        self.expect_stream("wait", stream)?;
        if event.0 < self.events.load(Relaxed) {
            return Ok(());
        }
        Err(Error::UnknownHandle { operation: "wait" })
    }

    fn synchronize(&self, stream: Stream) -> Result<()> {
        self.expect_stream("synchronize", stream)
    }
}

/// The machine's memory, where the system tells.
fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn expect_length(operation: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got { Ok(()) } else { Err(Error::Length { operation, expected, got }) }
}
