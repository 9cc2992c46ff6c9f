//! A device that takes the time of its kernels.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fp8lm_device::{Device, Event, Label, Launch, Memory, Properties, Result, Stream, View};

/// Wraps a device whose launches return when they are done, and adds up their time by kernel.
#[derive(Debug)]
pub struct Timed<D> {
    device: D,
    times: Mutex<BTreeMap<&'static str, KernelTime>>,
}

/// The launches of one kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelTime {
    /// How many there were.
    pub launches: u32,
    /// How long they took together.
    pub total: Duration,
}

impl<D> Timed<D> {
    /// A device of which nothing was launched yet.
    pub fn new(device: D) -> Arc<Self> {
        Arc::new(Self { device, times: Mutex::default() })
    }

    /// Kernels with their times since the last call, the slowest first.
    pub fn take(&self) -> Vec<(&'static str, KernelTime)> {
        let times = std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner));
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_by_key(|(_, time)| std::cmp::Reverse(time.total));
        times
    }

    fn add(&self, kernel: &'static str, elapsed: Duration) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let time = times.entry(kernel).or_default();
        time.launches += 1;
        time.total += elapsed;
    }
}

impl<D: Device> Device for Timed<D> {
    fn properties(&self) -> &Properties {
        self.device.properties()
    }

    fn stream(&self) -> Result<Stream> {
        self.device.stream()
    }

    fn alloc(&self, stream: Stream, bytes: usize, label: Label) -> Result<Arc<dyn Memory>> {
        self.device.alloc(stream, bytes, label)
    }

    fn launch(&self, stream: Stream, launches: &[Launch]) -> Result<()> {
        for launch in launches {
            let start = Instant::now();
            self.device.launch(stream, std::slice::from_ref(launch))?;
            self.add(launch.kernel(), start.elapsed());
        }
        Ok(())
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
