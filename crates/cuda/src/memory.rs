//! Memory of a device, which knows the streams that work on it.

use std::{
    any::Any,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use fp8lm_device::{Error as DeviceError, Memory, View};

use crate::{
    driver::{Block, Context, Part, Stream},
    error::Result,
};

/// Memory of a CUDA device. When it is dropped its own stream frees it. If others have worked on it as well, a stream
/// for that alone does, after all of them: nobody waits, not even its own stream, which would hold up later work behind
/// what waits for other GPUs.
#[derive(Debug)]
pub(crate) struct CudaMemory {
    /// There until it is dropped.
    block: Option<Block>,
    bytes: usize,
    /// The streams that work was enqueued on, beside its own.
    visitors: Mutex<Vec<Arc<Stream>>>,
    /// The stream that frees what others have worked on.
    graves: Arc<Stream>,
}

impl CudaMemory {
    pub(crate) fn new(block: Block, graves: &Arc<Stream>) -> Self {
        let (bytes, visitors, graves) = (block.bytes(), Mutex::default(), graves.clone());
        Self { block: Some(block), bytes, visitors, graves }
    }

    /// Announces work on `stream`: it starts after the allocation, and freeing waits for it.
    pub(crate) fn visit(&self, stream: &Arc<Stream>) -> Result<()> {
        let Some(block) = &self.block else { return Ok(()) };
        if Arc::ptr_eq(block.stream(), stream) {
            return Ok(());
        }
        // The list stays whole after a panic elsewhere: each operation on it is one call.
        let mut visitors = self.visitors.lock().unwrap_or_else(PoisonError::into_inner);
        if visitors.iter().any(|visitor| Arc::ptr_eq(visitor, stream)) {
            return Ok(());
        }
        stream.wait(&block.stream().record()?)?;
        visitors.push(stream.clone());
        Ok(())
    }
}

impl Memory for CudaMemory {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for CudaMemory {
    fn drop(&mut self) {
        let Some(mut block) = self.block.take() else { return };
        let visitors = self.visitors.get_mut().unwrap_or_else(PoisonError::into_inner);
        if visitors.is_empty() {
            return;
        }
        visitors.push(block.stream().clone());
        let graves = &self.graves;
        let waits = visitors.iter().try_for_each(|visitor| graves.wait(&visitor.record()?));
        match waits {
            Ok(()) => block.free_on(graves),
            // Where streams fail nothing is known of the work on it, so it is never given to anybody else.
            Err(_) => mem::forget(block),
        }
    }
}

/// A view's memory, if it is of the GPU of `context` and holds the whole view: a wrapper may claim more than there is.
pub(crate) fn bind<'a>(
    view: &'a View,
    operation: &'static str,
    context: &Arc<Context>,
) -> fp8lm_device::Result<Bound<'a>> {
    let memory = view.memory().as_any().downcast_ref::<CudaMemory>();
    let bound = memory.and_then(|memory| {
        let block = memory.block.as_ref()?;
        let is_ours = Arc::ptr_eq(block.stream().context(), context);
        let holds = view.offset() + view.bytes() <= block.bytes();
        (is_ours && holds).then_some(Bound { memory, block, view })
    });
    bound.ok_or(DeviceError::ForeignMemory { operation })
}

/// A view of memory that is known to be a device's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound<'a> {
    memory: &'a CudaMemory,
    block: &'a Block,
    view: &'a View,
}

impl<'a> Bound<'a> {
    /// Where it begins.
    pub(crate) fn address(&self) -> u64 {
        self.block.address() + self.view.offset() as u64
    }

    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.view.bytes()
    }

    /// The block that it lies in.
    pub(crate) fn block(&self) -> &'a Block {
        self.block
    }

    /// Its bytes.
    pub(crate) fn part(&self) -> Part<'a> {
        let start = self.view.offset();
        self.block.part(start..start + self.view.bytes())
    }

    /// Whether both share a byte, by their addresses: two handles of one block are seen to be one.
    pub(crate) fn overlaps(&self, other: &Bound<'_>) -> bool {
        let end = |bound: &Bound<'_>| bound.address() + bound.view.bytes() as u64;
        self.address() < end(other) && other.address() < end(self)
    }

    /// As [`CudaMemory::visit`].
    pub(crate) fn visit(&self, stream: &Arc<Stream>) -> Result<()> {
        self.memory.visit(stream)
    }
}
