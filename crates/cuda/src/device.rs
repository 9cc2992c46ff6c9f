//! The device itself.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use fp8lm_device::{
    Device, Error as DeviceError, Event, Label, Launch, LinkError, Memory, Properties, Result,
    Stream, View,
};

use crate::{
    Cuda, Error, Options,
    cubins::Cubins,
    driver::{self, Block, Context},
    error::failed,
    events::{Events, State},
    functions::Functions,
    lt::{Lt, WORKSPACE},
    memory::{Bound, CudaMemory, bind},
    staging::Staging,
};

/// A Hopper GPU. Memory that it gave out keeps what it needs of it, also when the device is gone.
#[derive(Debug)]
pub struct CudaDevice {
    properties: Properties,
    lanes: RwLock<Vec<Arc<Lane>>>,
    /// Frees what several streams have worked on.
    graves: Arc<driver::Stream>,
    events: Mutex<Events<driver::Event>>,
    staging: Staging,
    functions: Functions,
    lt: Lt,
    /// Why work between ranks was broken off, if it was: what is in memory then means nothing.
    broken_off: OnceLock<LinkError>,
    context: Arc<Context>,
}

/// A stream, and what a device keeps with it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) stream: Arc<driver::Stream>,
    /// What matrix products on the stream work in, one after another.
    workspace: Mutex<Option<Arc<Block>>>,
}

impl CudaDevice {
    /// GPU `ordinal` of this machine, from 0, with the system's libraries.
    ///
    /// # Errors
    /// If the driver, a library or the GPU is missing, too old or of another kind.
    pub fn new(ordinal: usize) -> std::result::Result<Self, Error> {
        Self::with(&Cuda::find(&Options::default())?, ordinal)
    }

    /// GPU `ordinal`, with what was found.
    ///
    /// # Errors
    /// If there is no such GPU, or it is of another kind than the kernels are for.
    pub fn with(found: &Cuda, ordinal: usize) -> std::result::Result<Self, Error> {
        let context = Context::new(found, ordinal)?;
        let (name, memory_bytes) = (context.name().to_owned(), context.memory_bytes());
        Ok(Self {
            properties: Properties { name, memory_bytes },
            lanes: RwLock::default(),
            graves: driver::Stream::new(&context)?,
            events: Mutex::default(),
            staging: Staging::new(context.clone()),
            functions: Functions::new(context.clone(), Cubins::new(found)),
            lt: Lt::new(&context)?,
            broken_off: OnceLock::new(),
            context,
        })
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub(crate) fn functions(&self) -> &Functions {
        &self.functions
    }

    pub(crate) fn staging(&self) -> &Staging {
        &self.staging
    }

    /// From now on whoever waits gets `error`, and no bytes.
    pub(crate) fn break_off(&self, error: &LinkError) {
        let _ = self.broken_off.set(error.clone());
    }

    pub(crate) fn lt(&self) -> &Lt {
        &self.lt
    }

    /// Memory in the order of a stream. When there is none, what was freed elsewhere is waited for, once.
    pub(crate) fn block(&self, lane: &Lane, bytes: usize, label: Label) -> Result<Block> {
        let allocate = || Block::new(&lane.stream, bytes).map_err(failed("alloc"));
        if let Some(block) = allocate()? {
            return Ok(block);
        }
        for lane in self.all_lanes() {
            lane.stream.synchronize().map_err(failed("alloc"))?;
        }
        self.graves.synchronize().map_err(failed("alloc"))?;
        self.context.trim().map_err(failed("alloc"))?;
        if let Some(block) = allocate()? {
            return Ok(block);
        }
        let available = self.context.available().map_err(failed("alloc"))?;
        Err(DeviceError::OutOfMemory { label, bytes, available })
    }

    /// A block as memory for views.
    pub(crate) fn memory(&self, block: Block) -> Arc<CudaMemory> {
        Arc::new(CudaMemory::new(block, &self.graves))
    }

    /// What matrix products on a stream work in.
    pub(crate) fn workspace(&self, lane: &Lane) -> Result<Arc<Block>> {
        // It stays whole after a panic elsewhere: it is set in one step.
        let mut workspace = lane.workspace.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = &*workspace {
            return Ok(block.clone());
        }
        let block = Arc::new(self.block(lane, WORKSPACE, Label("cuBLASLt's workspace"))?);
        *workspace = Some(block.clone());
        Ok(block)
    }

    pub(crate) fn lane(&self, operation: &'static str, stream: Stream) -> Result<Arc<Lane>> {
        // The list stays whole after a panic elsewhere: it only grows, in one step.
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.get(stream.0 as usize).cloned();
        lane.ok_or(DeviceError::UnknownHandle { operation })
    }

    fn all_lanes(&self) -> Vec<Arc<Lane>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The list stays whole after a panic elsewhere: each operation on it is one call.
    fn events(&self) -> MutexGuard<'_, Events<driver::Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A view of this device's memory, told of work on a stream.
    pub(crate) fn bind<'a>(
        &self,
        operation: &'static str,
        lane: &Lane,
        view: &'a View,
    ) -> Result<Bound<'a>> {
        let bound = bind(view, operation, &self.context)?;
        bound.visit(&lane.stream).map_err(failed(operation))?;
        Ok(bound)
    }

    fn expect_whole(&self) -> Result<()> {
        self.broken_off.get().map_or(Ok(()), |error| Err(error.clone().into()))
    }
}

impl Drop for CudaDevice {
    /// Kernels must not run when their module is unloaded.
    fn drop(&mut self) {
        for lane in self.all_lanes() {
            // Nobody is left to hear of an error.
            let _ = lane.stream.synchronize();
        }
    }
}

impl Device for CudaDevice {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn stream(&self) -> Result<Stream> {
        let stream = driver::Stream::new(&self.context).map_err(failed("stream"))?;
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let number = lanes.len() as u32;
        lanes.push(Arc::new(Lane { stream, workspace: Mutex::default() }));
        Ok(Stream(number))
    }

    fn alloc(&self, stream: Stream, bytes: usize, label: Label) -> Result<Arc<dyn Memory>> {
        let lane = self.lane("alloc", stream)?;
        Ok(self.memory(self.block(&lane, bytes, label)?))
    }

    fn launch(&self, stream: Stream, launches: &[Launch]) -> Result<()> {
        let lane = self.lane("launch", stream)?;
        self.run(&lane, launches)
    }

    fn copy(&self, stream: Stream, from: &View, to: &View) -> Result<()> {
        let lane = self.lane("copy", stream)?;
        expect_length("copy", to.bytes(), from.bytes())?;
        let [from, to] = [from, to].map(|view| self.bind("copy", &lane, view));
        lane.stream.copy(from?.part(), to?.part()).map_err(failed("copy"))
    }

    fn upload(&self, stream: Stream, from: &[u8], to: &View) -> Result<()> {
        let lane = self.lane("upload", stream)?;
        expect_length("upload", to.bytes(), from.len())?;
        let bound = self.bind("upload", &lane, to)?;
        let uploaded = self.staging.upload(&lane.stream, from, bound.block(), to.offset());
        uploaded.map_err(failed("upload"))
    }

    fn download(&self, stream: Stream, from: &View, to: &mut [u8]) -> Result<()> {
        let lane = self.lane("download", stream)?;
        expect_length("download", from.bytes(), to.len())?;
        let bound = self.bind("download", &lane, from)?;
        lane.stream.download(bound.part(), to).map_err(failed("download"))?;
        self.expect_whole()
    }

    fn record(&self, stream: Stream) -> Result<Event> {
        let lane = self.lane("record", stream)?;
        let event = lane.stream.record().map_err(failed("record"))?;
        Ok(self.events().add(event))
    }

    fn wait(&self, stream: Stream, event: &Event) -> Result<()> {
        let lane = self.lane("wait", stream)?;
        let state = self.events().find(event);
        match state {
            State::Unknown => Err(DeviceError::UnknownHandle { operation: "wait" }),
            State::Done => Ok(()),
            State::Pending(event) => lane.stream.wait(&event).map_err(failed("wait")),
        }
    }

    fn synchronize(&self, stream: Stream) -> Result<()> {
        let lane = self.lane("synchronize", stream)?;
        lane.stream.synchronize().map_err(failed("synchronize"))?;
        self.expect_whole()
    }
}

fn expect_length(operation: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got { Ok(()) } else { Err(DeviceError::Length { operation, expected, got }) }
}
