//! Memory, streams and events, on a driver that does everything as late as it may.

use std::sync::Arc;

use fp8lm_cuda::CudaDevice;
use fp8lm_device::{DType, Device, Error, Event, Label, Launch, Queue, Stream, Tensor, View};
use fp8lm_sim::Emulator;

use crate::{Result, say};

pub(crate) const LABEL: Label = Label("test");

/// All of it.
pub(crate) fn run(device: &Arc<CudaDevice>) -> Result<()> {
    slices_are_free_at_return(device)?;
    memory_is_there_for_work_elsewhere(device)?;
    memory_outlives_work_elsewhere(device)?;
    events_order_streams(device)?;
    what_was_freed_serves_again(device)?;
    strangers_are_refused(device)?;
    say("memory, streams and events behave");
    Ok(())
}

fn expect(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(what.into()) }
}

/// Uploads longer than a piece, of slices that are overwritten before anything has run.
fn slices_are_free_at_return(device: &Arc<CudaDevice>) -> Result<()> {
    let queue = Queue::new(device.clone())?;
    let content = |seed: usize| (0..9 << 20).map(move |i| (i * 31 / 7 + seed) as u8);
    let mut bytes: Vec<u8> = content(0).collect();
    let tensor = queue.upload(&bytes, bytes.len(), LABEL)?;
    let small = queue.upload(&bytes[..3], 3, LABEL)?;
    bytes.fill(0xEE);
    expect(queue.download_bytes(&tensor)?.into_iter().eq(content(0)), "an upload of 9 MiB")?;
    expect(queue.download_bytes(&small)?.into_iter().eq(content(0).take(3)), "an upload")?;
    let copy = queue.alloc(DType::U8, tensor.elements(), LABEL)?;
    queue.copy(&tensor, &copy)?;
    drop(tensor);
    expect(queue.download_bytes(&copy)?.into_iter().eq(content(0)), "a copy")
}

/// A tensor is written by another stream, which nobody told of the allocation.
fn memory_is_there_for_work_elsewhere(device: &Arc<CudaDevice>) -> Result<()> {
    let (home, away) = (Queue::new(device.clone())?, Queue::new(device.clone())?);
    let x = away.upload(&[4.0f32, 0.5], 2, LABEL)?;
    let y = home.alloc(DType::F32, 2, LABEL)?;
    away.launch(Launch::new("reciprocal").read(&x).write(&y))?;
    expect(away.download::<f32>(&y)? == [0.25, 2.0], "what was written elsewhere")
}

/// A tensor is dropped while another stream has yet to read it, and its memory asked for again at once.
fn memory_outlives_work_elsewhere(device: &Arc<CudaDevice>) -> Result<()> {
    let (home, away) = (Queue::new(device.clone())?, Queue::new(device.clone())?);
    let x = home.upload(&[1.0f32, 2.0, 4.0, 8.0], 4, LABEL)?;
    home.synchronize()?;
    let y = away.alloc(DType::F32, 4, LABEL)?;
    away.launch(Launch::new("reciprocal").read(&x).write(&y))?;
    drop(x);
    let other = home.upload(&[3.0f32; 4], 4, LABEL)?;
    home.synchronize()?;
    expect(away.download::<f32>(&y)? == [1.0, 0.5, 0.25, 0.125], "what was read before the drop")?;
    expect(home.download::<f32>(&other)? == [3.0; 4], "what was written after it")
}

fn events_order_streams(device: &Arc<CudaDevice>) -> Result<()> {
    let (first, second) = (device.stream()?, device.stream()?);
    let view = |stream: Stream| -> Result<View> {
        Ok(View::new(device.alloc(stream, 16, LABEL)?, DType::F32, 4))
    };
    let (x, y) = (view(first)?, view(second)?);
    let content = [2.0f32; 4].map(f32::to_le_bytes).concat();
    device.upload(first, &content, &x)?;
    let event = device.record(first)?;
    device.wait(second, &event)?;
    device.copy(second, &x, &y)?;
    let mut bytes = [0; 16];
    device.download(second, &y, &mut bytes)?;
    expect(bytes[..] == content, "a copy after an event")?;
    // It has happened, and may be waited for all the same.
    device.record(first)?;
    device.wait(second, &event)?;
    let unknown = device.wait(second, &Event(1 << 40));
    expect(matches!(unknown, Err(Error::UnknownHandle { operation: "wait" })), "an unknown event")
}

/// The stand-in has 192 MiB, and what is freed is free when its stream has come to it.
fn what_was_freed_serves_again(device: &Arc<CudaDevice>) -> Result<()> {
    let queue = Queue::new(device.clone())?;
    let [much, most] = [60, 90].map(|size: usize| size << 20);
    for bytes in [much, most, much + 1, most + 1] {
        queue.alloc(DType::U8, bytes, LABEL)?;
    }
    match queue.alloc(DType::U8, 1usize << 40, Label("too much")) {
        Err(Error::OutOfMemory { label: Label("too much"), bytes, available }) => {
            expect(bytes == 1 << 40 && available > most, "what is said to be free")
        }
        other => Err(format!("a terabyte: {other:?}").into()),
    }
}

fn strangers_are_refused(device: &Arc<CudaDevice>) -> Result<()> {
    let queue = Queue::new(device.clone())?;
    let emulator = Queue::new(Arc::new(Emulator::default()))?;
    let (x, y) = (emulator.upload(&[1.0f32], 1, LABEL)?, queue.alloc(DType::F32, 1, LABEL)?);
    let launch = Launch::new("reciprocal").read(&x).write(&y);
    let foreign = queue.launch(launch);
    expect(matches!(foreign, Err(Error::ForeignMemory { .. })), "memory of the emulator")?;
    let same = Launch::new("reciprocal").read(&y).write(&y);
    expect(matches!(queue.launch(same), Err(Error::Overlap { .. })), "an overlap")?;
    let short = Tensor::new(y.view().slice(0, 0), 0.into());
    let launch = Launch::new("reciprocal").read(&y).write(&short);
    expect(matches!(queue.launch(launch), Err(Error::Argument { .. })), "a wrong length")?;
    let stream = device.alloc(Stream(1 << 20), 1, LABEL);
    expect(matches!(stream, Err(Error::UnknownHandle { .. })), "an unknown stream")
}
