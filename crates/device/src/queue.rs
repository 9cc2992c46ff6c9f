//! A device together with one of its streams: what code that computes is handed first.

use std::sync::Arc;

use fp8lm_formats::{DType, Element};

use crate::{Device, Error, Event, Label, Launch, Properties, Result, Shape, Stream, Tensor, View};

/// One stream of one device. Cloning it shares the stream.
#[derive(Clone, Debug)]
pub struct Queue {
    device: Arc<dyn Device>,
    stream: Stream,
}

impl Queue {
    /// A new stream of `device`.
    pub fn new(device: Arc<dyn Device>) -> Result<Self> {
        let stream = device.stream()?;
        Ok(Self { device, stream })
    }

    /// A queue on another stream of the same device. Nothing orders the two but events.
    pub fn fork(&self) -> Result<Self> {
        Self::new(self.device.clone())
    }

    /// Its stream, for calls to the device and to links.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// What the device is.
    pub fn properties(&self) -> &Properties {
        self.device.properties()
    }

    /// A tensor whose elements are undefined until something writes them.
    pub fn alloc(&self, dtype: DType, shape: impl Into<Shape>, label: Label) -> Result<Tensor> {
        let shape = shape.into();
        let bytes = shape.elements().saturating_mul(dtype.bytes());
        let memory = self.device.alloc(self.stream, bytes, label)?;
        Ok(Tensor::new(View::new(memory, dtype, shape.elements()), shape))
    }

    /// A tensor with the elements of `values`.
    pub fn upload<T: Element>(
        &self,
        values: &[T],
        shape: impl Into<Shape>,
        label: Label,
    ) -> Result<Tensor> {
        let tensor = self.alloc(T::DTYPE, shape, label)?;
        self.write(values, &tensor)?;
        Ok(tensor)
    }

    /// Overwrites a tensor with the elements of `values`.
    pub fn write<T: Element>(&self, values: &[T], tensor: &Tensor) -> Result<()> {
        expect_type::<T>("upload", tensor)?;
        self.write_bytes(bytemuck::cast_slice(values), tensor)
    }

    /// Overwrites a tensor of any type with `bytes`.
    pub fn write_bytes(&self, bytes: &[u8], tensor: &Tensor) -> Result<()> {
        expect_length("upload", tensor.view().bytes(), bytes.len())?;
        self.device.upload(self.stream, bytes, tensor.view())
    }

    /// The elements of a tensor. Waits for the work before it.
    pub fn download<T: Element>(&self, tensor: &Tensor) -> Result<Vec<T>> {
        expect_type::<T>("download", tensor)?;
        let mut values = vec![T::zeroed(); tensor.elements()];
        let bytes = bytemuck::cast_slice_mut(&mut values);
        self.device.download(self.stream, tensor.view(), bytes)?;
        Ok(values)
    }

    /// The bytes of a tensor of any type. Waits for the work before it.
    pub fn download_bytes(&self, tensor: &Tensor) -> Result<Vec<u8>> {
        let mut bytes = vec![0; tensor.view().bytes()];
        self.device.download(self.stream, tensor.view(), &mut bytes)?;
        Ok(bytes)
    }

    /// Enqueues one kernel.
    pub fn launch(&self, launch: Launch) -> Result<()> {
        self.device.launch(self.stream, &[launch])
    }

    /// Enqueues kernels, to run one after another. A device may run those at once that do not depend on one another.
    pub fn launch_all(&self, launches: &[Launch]) -> Result<()> {
        self.device.launch(self.stream, launches)
    }

    /// Enqueues a copy between two tensors of the same length in bytes.
    pub fn copy(&self, from: &Tensor, to: &Tensor) -> Result<()> {
        expect_length("copy", to.view().bytes(), from.view().bytes())?;
        self.device.copy(self.stream, from.view(), to.view())
    }

    /// Enqueues a copy between two views of the same length in bytes.
    pub fn copy_view(&self, from: &View, to: &View) -> Result<()> {
        expect_length("copy", to.bytes(), from.bytes())?;
        self.device.copy(self.stream, from, to)
    }

    /// An event that happens when the work enqueued so far is done.
    pub fn record(&self) -> Result<Event> {
        self.device.record(self.stream)
    }

    /// Work that is enqueued from now on starts after `event`, of any queue of the device.
    pub fn wait(&self, event: &Event) -> Result<()> {
        self.device.wait(self.stream, event)
    }

    /// Waits for all work of this queue.
    pub fn synchronize(&self) -> Result<()> {
        self.device.synchronize(self.stream)
    }
}

fn expect_type<T: Element>(operation: &'static str, tensor: &Tensor) -> Result<()> {
    if tensor.dtype() == T::DTYPE {
        return Ok(());
    }
    Err(Error::Type { operation, expected: T::DTYPE, got: tensor.dtype() })
}

fn expect_length(operation: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got { Ok(()) } else { Err(Error::Length { operation, expected, got }) }
}
