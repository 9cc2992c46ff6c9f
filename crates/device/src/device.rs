//! The device trait: ten methods, object-safe.

use std::{any::Any, fmt, sync::Arc};

use crate::{Launch, Result, View};

/// A device: it owns memory, and works off launches and copies in the order of their stream.
///
/// `Ok` from a call that takes a stream means that the work is enqueued. What fails later
/// surfaces at [`synchronize`](Device::synchronize). [`download`](Device::download) and
/// `synchronize` are the only calls that wait.
pub trait Device: fmt::Debug + Send + Sync {
    /// What the device is.
    fn properties(&self) -> &Properties;

    /// A new stream: work on it runs in order, work on two streams in any order.
    fn stream(&self) -> Result<Stream>;

    /// `bytes` bytes of memory, their content undefined, for work on `stream`.
    fn alloc(&self, stream: Stream, bytes: usize, label: Label) -> Result<Arc<dyn Memory>>;

    /// Enqueues kernels, to run one after another, or at once where that makes no difference.
    fn launch(&self, stream: Stream, launches: &[Launch]) -> Result<()>;

    /// Enqueues a copy within the device. The views have the same length in bytes.
    fn copy(&self, stream: Stream, from: &View, to: &View) -> Result<()>;

    /// Copies host bytes to the device; the slice may be reused at return.
    fn upload(&self, stream: Stream, from: &[u8], to: &View) -> Result<()>;

    /// Copies a view to the host, and waits until its bytes are there.
    fn download(&self, stream: Stream, from: &View, to: &mut [u8]) -> Result<()>;

    /// An event that happens when the work enqueued on `stream` so far is done.
    fn record(&self, stream: Stream) -> Result<Event>;

    /// Later work on `stream` starts after `event`.
    fn wait(&self, stream: Stream, event: &Event) -> Result<()>;

    /// Waits for all work on `stream` and reports the first error in it.
    fn synchronize(&self, stream: Stream) -> Result<()>;
}

/// Memory of a device. It returns to the device when the last view of it is dropped.
pub trait Memory: fmt::Debug + Send + Sync {
    /// Its size in bytes.
    fn bytes(&self) -> usize;

    /// For the device that made it, which alone knows the type.
    fn as_any(&self) -> &dyn Any;
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// A name for people.
    pub name: String,
    /// The memory that it has, in bytes.
    pub memory_bytes: u64,
}

/// A queue of work on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream(pub u32);

/// A point in the work of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event(pub u64);

/// What memory is for: one row of the memory table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(pub &'static str);

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
