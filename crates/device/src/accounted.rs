//! A device that keeps books: how many bytes live under each label, and how many at most.

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{Device, Event, Label, Launch, Memory, Properties, Result, Stream, View};

/// Wraps any device and counts its memory by label.
#[derive(Debug)]
pub struct Accounted {
    device: Arc<dyn Device>,
    books: Arc<Mutex<Books>>,
}

impl Accounted {
    /// Books for `device`, empty.
    pub fn new(device: Arc<dyn Device>) -> Self {
        Self { device, books: Arc::default() }
    }

    /// Bytes by label, as of now.
    pub fn usage(&self) -> BTreeMap<Label, Usage> {
        lock(&self.books).labels.clone()
    }

    /// The sum over all labels. Its peak is of the sum, not a sum of peaks.
    pub fn total(&self) -> Usage {
        lock(&self.books).total
    }
}

/// Bytes that are allocated now, and the most there ever were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes allocated now.
    pub bytes: usize,
    /// The largest number of bytes that were allocated at once.
    pub peak: usize,
}

impl Usage {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.peak = self.peak.max(self.bytes);
    }
}

#[derive(Debug, Default)]
struct Books {
    labels: BTreeMap<Label, Usage>,
    total: Usage,
}

impl Books {
    fn open(&mut self, label: Label, bytes: usize) {
        self.labels.entry(label).or_default().add(bytes);
        self.total.add(bytes);
    }

    fn close(&mut self, label: Label, bytes: usize) {
        if let Some(usage) = self.labels.get_mut(&label) {
            usage.bytes -= bytes;
        }
        self.total.bytes -= bytes;
    }
}

#[derive(Debug)]
struct Entry {
    memory: Arc<dyn Memory>,
    label: Label,
    books: Arc<Mutex<Books>>,
}

impl Memory for Entry {
    fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    fn as_any(&self) -> &dyn Any {
        self.memory.as_any()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.books).close(self.label, self.memory.bytes());
    }
}

impl Device for Accounted {
    fn properties(&self) -> &Properties {
        self.device.properties()
    }

    fn stream(&self) -> Result<Stream> {
        self.device.stream()
    }

    fn alloc(&self, stream: Stream, bytes: usize, label: Label) -> Result<Arc<dyn Memory>> {
        let memory = self.device.alloc(stream, bytes, label)?;
        lock(&self.books).open(label, memory.bytes());
        Ok(Arc::new(Entry { memory, label, books: self.books.clone() }))
    }

    fn launch(&self, stream: Stream, launches: &[Launch]) -> Result<()> {
        self.device.launch(stream, launches)
    }

    fn copy(&self, stream: Stream, from: &View, to: &View) -> Result<()> {
        self.device.copy(stream, from, to)
    }

    fn upload(&self, stream: Stream, from: &[u8], to: &View) -> Result<()> {
        self.device.upload(stream, from, to)
    }

    fn download(&self, stream: Stream, from: &View, to: &mut [u8]) -> Result<()> {
        self.device.download(stream, from, to)
    }

    fn record(&self, stream: Stream) -> Result<Event> {
        self.device.record(stream)
    }

    fn wait(&self, stream: Stream, event: &Event) -> Result<()> {
        self.device.wait(stream, event)
    }

    fn synchronize(&self, stream: Stream) -> Result<()> {
        self.device.synchronize(stream)
    }
}

/// The books stay usable after a panic elsewhere: every entry is complete by itself.
fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}
