//! Tensors on their way from one rank of a pipeline to another, as they are or in FP8.

use std::slice::from_ref;

use fp8lm_collectives::Channel;
use fp8lm_device::{DType, Error, Pending, Queue, Result, Shape, Tensor};
use fp8lm_ops::{self as ops, BlockCast, BlockRule, Blocks};
use fp8lm_scaling::WireFormat;

use crate::{PIPELINE, SCALARS};

/// What carries the tensors of a pipeline, all of one shape and type.
#[derive(Debug)]
pub(super) struct Post {
    values: Channel,
    factors: Channel,
    /// Where memory is taken for what is received, so that it need not wait for what is computed.
    inbox: Queue,
    shape: Shape,
    dtype: DType,
    wire: WireFormat,
    meter: Meter,
}

/// What casts measure, and nobody reads.
#[derive(Debug)]
struct Meter {
    amax: Tensor,
    counts: Tensor,
}

/// A tensor that is being received.
#[derive(Debug)]
pub(super) struct Incoming {
    values: Part,
    /// Of codes.
    factors: Option<Part>,
}

#[derive(Debug)]
struct Part {
    tensor: Tensor,
    pending: Pending,
}

impl Post {
    pub(super) fn new(
        queue: &Queue,
        channel: &Channel,
        shape: Shape,
        dtype: DType,
        wire: WireFormat,
    ) -> Result<Self> {
        let amax = queue.upload(&[0.0f32], 1, PIPELINE)?;
        let counts = queue.upload(&[0u64; 2], 2, PIPELINE)?;
        Ok(Self {
            values: channel.labelled(PIPELINE),
            factors: channel.labelled(SCALARS),
            inbox: queue.fork()?,
            shape,
            dtype,
            wire,
            meter: Meter { amax, counts },
        })
    }

    pub(super) fn rank(&self) -> usize {
        self.values.rank()
    }

    pub(super) fn size(&self) -> usize {
        self.values.size()
    }

    /// Sends `x` behind the work on `queue` so far.
    pub(super) fn send(&self, queue: &Queue, to: usize, x: &Tensor) -> Result<()> {
        match self.wire {
            WireFormat::Activations => self.values.send(queue, to, from_ref(x.view())),
            WireFormat::E4m3 => {
                let [code, scale_inv] = self.cast(queue, x)?;
                self.values.send(queue, to, from_ref(code.view()))?;
                self.factors.send(queue, to, from_ref(scale_inv.view()))
            }
        }
    }

    /// The next tensor from a rank.
    pub(super) fn receive(&self, from: usize) -> Result<Incoming> {
        let part = |channel: &Channel, dtype, shape: Shape| -> Result<Part> {
            let tensor = self.inbox.alloc(dtype, shape, PIPELINE)?;
            let pending = channel.receive(&self.inbox, from, from_ref(tensor.view()))?;
            Ok(Part { tensor, pending })
        };
        Ok(match self.wire {
            WireFormat::Activations => {
                Incoming { values: part(&self.values, self.dtype, self.shape)?, factors: None }
            }
            WireFormat::E4m3 => {
                let values = part(&self.values, DType::E4M3, self.shape)?;
                let factors = part(&self.factors, DType::F32, CAST.blocks.scale_shape(self.shape))?;
                Incoming { values, factors: Some(factors) }
            }
        })
    }

    /// What was received, for later work on `queue`.
    pub(super) fn open(&self, queue: &Queue, incoming: Incoming) -> Result<Tensor> {
        let values = incoming.values.wait(queue)?;
        let Some(factors) = incoming.factors else { return Ok(values) };
        let scale_inv = factors.wait(queue)?;
        let x = queue.alloc(self.dtype, self.shape, PIPELINE)?;
        ops::dequantize_blocks(queue, &values, &scale_inv, CAST.blocks, &x)?;
        Ok(x)
    }

    /// An error unless a result is of the pipeline's shape and type.
    pub(super) fn expect(&self, x: &Tensor) -> Result<()> {
        if x.shape() == self.shape && x.dtype() == self.dtype {
            return Ok(());
        }
        let (expected, got) = (format!("{}{}", self.dtype, self.shape), format!("{x:?}"));
        Err(Error::Shape { operation: "pipeline", tensor: "result of a stage", expected, got })
    }

    fn cast(&self, queue: &Queue, x: &Tensor) -> Result<[Tensor; 2]> {
        let code = queue.alloc(DType::E4M3, self.shape, PIPELINE)?;
        let scale_inv = queue.alloc(DType::F32, CAST.blocks.scale_shape(self.shape), PIPELINE)?;
        let Meter { amax, counts } = &self.meter;
        ops::quantize_blocks(queue, x, CAST, &code, &scale_inv, amax, counts)?;
        Ok([code, scale_inv])
    }
}

impl Part {
    fn wait(self, queue: &Queue) -> Result<Tensor> {
        self.pending.wait(queue)?;
        Ok(self.tensor)
    }
}

/// Factors are in f32, so gradients need no other format than activations.
const CAST: BlockCast = BlockCast { blocks: Blocks::Tile, rule: BlockRule::Exact, divide: true };
