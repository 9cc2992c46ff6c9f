//! The gradient of one parameter: a sum over micro-batches, in f32 or in FP8 with automatic
//! scaling (FP8-LM, section 2.1), and the mean over ranks that it becomes.

use std::{slice, sync::Arc};

use fp8lm_device::{Alone, Collectives, DType, Label, Queue, Reduction, Result, Shape, Tensor};
use fp8lm_ops::{self as ops, Noise, Saturation, ScaleRule, Use};

use crate::{
    Accumulation, GradientCast, GradientFormat, HeadRoom, Meter, Reading, SCALES, TreeSum,
    meter::Scales,
};

/// The gradient of one parameter.
#[derive(Debug)]
pub struct Gradient {
    format: GradientFormat,
    shape: Shape,
    label: Label,
    /// The gradient, times the scale. None until it is needed, where it does not stay.
    values: Option<Tensor>,
    scale: Tensor,
    scale_inv: Tensor,
    /// Automatic head-room.
    mu: Tensor,
    /// The head-room in the scale otherwise.
    head: Tensor,
    /// Over all casts of this step; its amax tells whether any micro-batch was not finite.
    meter: Meter,
    /// Codes of a sum over ranks that are the format's largest, U64 [1].
    largest: Tensor,
    /// What was added and not cast yet; of the last micro-batch alone, if there is a tree.
    pending: Option<Tensor>,
    /// The sum over micro-batches, where it goes by a tree.
    tree: Option<TreeSum>,
    /// Whether `values` holds an earlier part of this step's sum.
    started: bool,
    /// Ranks whose mean it becomes, and those with its other shards.
    share: Share,
    /// Whose shards are one tensor, and share every scale.
    scalars: Arc<dyn Collectives>,
    /// What it is rounded by, unless to the nearest.
    noise: Option<Noise>,
    /// Casts of this step.
    casts: u64,
}

/// How ranks share a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The place of this rank among those whose mean the gradient becomes.
    pub rank: usize,
    /// Their number; each adds micro-batches of its own.
    pub ranks: usize,
    /// On how many ranks it is counted what casts lose: those, times the members that have its shards.
    pub peers: usize,
    /// Whether the gradient outlives the step on this rank. Otherwise its memory is that of the time between the first
    /// micro-batch and the sum over ranks.
    pub stays: bool,
}

/// A gradient whose micro-batches are all added, for the ranks to sum.
#[derive(Debug)]
pub enum Unreduced {
    /// To be cast under a scale that the ranks agree on.
    Scaled(Box<GradientCast>),
    /// Summed as it is, in f32.
    Plain(Tensor),
}

impl Share {
    /// Of whole tensors: the mean over `ranks`, of which this one has place `rank`. It stays on each.
    pub const fn among(rank: usize, ranks: usize) -> Self {
        Self { rank, ranks, peers: ranks, stays: true }
    }
}

impl Default for Share {
    /// The gradient is this rank's alone.
    fn default() -> Self {
        Self::among(0, 1)
    }
}

impl Gradient {
    /// A gradient of this shape, to which nothing was added.
    pub fn new(
        queue: &Queue,
        format: GradientFormat,
        shape: impl Into<Shape>,
        label: Label,
    ) -> Result<Self> {
        let one = || queue.upload(&[1.0f32], 1, SCALES);
        let shape = shape.into();
        Ok(Self {
            format,
            shape,
            label,
            values: Some(queue.alloc(format.format.dtype, shape, label)?),
            scale: one()?,
            scale_inv: one()?,
            mu: one()?,
            head: one()?,
            meter: Meter::new(queue)?,
            largest: queue.upload(&[0u64], 1, SCALES)?,
            pending: None,
            tree: None,
            started: false,
            share: Share::default(),
            scalars: Arc::new(Alone),
            noise: None,
            casts: 0,
        })
    }

    /// Makes it a shard of a tensor of which the members of `scalars` have the others, in order of place. They add and
    /// cast at the same time: every scale is that of the whole. What its casts lose is to be summed over them.
    #[must_use]
    pub fn over(self, scalars: Arc<dyn Collectives>) -> Self {
        let peers = scalars.size();
        Self { scalars, share: Share { peers, ..self.share }, ..self }
    }

    /// Makes it the mean over several ranks.
    pub fn share(&mut self, queue: &Queue, share: Share) -> Result<()> {
        self.share = share;
        let part = [1.0 / share.ranks as f32];
        if !self.is_scaled() {
            queue.write(&part, &self.scale_inv)?;
        }
        if self.format.head_room == HeadRoom::Pre {
            queue.write(&part, &self.head)?;
        }
        if !share.stays {
            self.values = None;
        }
        Ok(())
    }

    /// Sums so many micro-batches of each step by a [`TreeSum`] in f32, whatever format it is kept in, and casts the
    /// sum once. They come in order, and [`fold`](Self::fold) ends each.
    ///
    /// So a sum of d times as many micro-batches, d a power of two, has the same bits if d ranks sum a part each and
    /// their sums are added by the same tree before the cast.
    pub fn combine_as_tree(&mut self, micro_batches: usize) {
        self.tree = Some(TreeSum::new(micro_batches));
    }

    /// Rounds it stochastically from now on.
    pub fn set_noise(&mut self, noise: Noise) {
        self.noise = Some(noise);
    }

    /// Starts a step: forgets the last one's sum.
    pub fn begin(&mut self, queue: &Queue) -> Result<()> {
        self.started = false;
        self.pending = None;
        if let Some(tree) = &mut self.tree {
            tree.clear();
        }
        self.casts = 0;
        ops::fill(queue, &self.meter.amax, 0.0)?;
        ops::fill(queue, &self.largest, 0.0)?;
        self.meter.reset(queue)
    }

    /// Adds the gradient of one micro-batch, F32 of the parameter's shape. Its memory may be
    /// reused for the sum.
    pub fn add(&mut self, queue: &Queue, gradient: Tensor) -> Result<()> {
        if self.tree.is_some() {
            return self.add_pending(queue, gradient);
        }
        if !self.is_scaled() {
            let first = !std::mem::replace(&mut self.started, true);
            let values = self.values(queue)?;
            return match first {
                true => ops::cast_into(queue, &gradient, &values),
                false => ops::accumulate(queue, &gradient, &values),
            };
        }
        self.fold(queue)?;
        if self.pending.is_none() && self.started {
            let values = self.values(queue)?;
            ops::accumulate_dequantized(queue, &values, &self.scale_inv, &gradient)?;
        }
        self.add_pending(queue, gradient)
    }

    /// Ends a micro-batch. Casts what was added, if micro-batches are summed in the gradient's own format: its memory
    /// is then free for others until the next is added.
    pub fn fold(&mut self, queue: &Queue) -> Result<()> {
        match (&mut self.tree, self.format.accumulation) {
            (Some(tree), _) => match self.pending.take() {
                Some(leaf) => tree.add(queue, leaf),
                None => Ok(()),
            },
            (None, Accumulation::Native) => self.cast(queue),
            (None, Accumulation::F32) => Ok(()),
        }
    }

    /// Ends the sum over micro-batches, of this rank alone. Of none it is 0.
    pub fn finish(&mut self, queue: &Queue) -> Result<()> {
        self.sum_tree(queue)?;
        match self.is_scaled() {
            true => self.cast(queue)?,
            false => self.store(queue)?,
        }
        match self.started {
            true => Ok(()),
            false => ops::fill(queue, &self.values(queue)?, 0.0),
        }
    }

    /// Ends the sum over micro-batches, and hands it out to be summed over ranks: into the same memory, where this rank
    /// has use for the result.
    pub fn hand_out(&mut self, queue: &Queue) -> Result<Unreduced> {
        if !self.is_scaled() {
            self.finish(queue)?;
            let values = self.values(queue)?;
            self.leave();
            return Ok(Unreduced::Plain(values));
        }
        self.sum_tree(queue)?;
        let gradient = match self.pending.take() {
            Some(gradient) => gradient,
            None => self.held(queue)?,
        };
        let cast = self.cast_of(queue, gradient)?;
        self.leave();
        Ok(Unreduced::Scaled(Box::new(cast)))
    }

    /// Automatic scaling: mu follows the rate of saturation, unless the step was skipped.
    pub fn adapt(&mut self, queue: &Queue, skip: &Tensor) -> Result<()> {
        if self.meter.elements == 0 || self.format.head_room != HeadRoom::Auto {
            return Ok(());
        }
        let Meter { counts, elements, .. } = &self.meter;
        let (largest, elements) = (&self.largest, elements * self.share.peers as u64);
        // A sum has the elements of one cast of one rank, with those of the tensor's other shards.
        let casts = self.casts * self.share.ranks as u64;
        let saturation = Saturation { counts, largest, elements, casts };
        ops::auto_scale(queue, &saturation, skip, &self.mu)
    }

    /// The sum of squares, canonically ordered, into `y`, F32 `[1]`.
    ///
    /// # Panics
    /// If the gradient is another rank's.
    pub fn sum_squares(&self, queue: &Queue, y: &Tensor) -> Result<()> {
        if self.is_scaled() || self.share.ranks > 1 {
            return ops::sum_squares_dequantized(queue, self.result(), &self.scale_inv, y);
        }
        ops::sum_squares(queue, self.result(), y)
    }

    /// The gradient, times its scale.
    ///
    /// # Panics
    /// If the gradient is another rank's.
    pub fn result(&self) -> &Tensor {
        self.kept().expect("a gradient is read on the rank that it stays on")
    }

    /// The same, or this rank's part before the sum over ranks; none where it neither stays nor is needed now.
    pub fn kept(&self) -> Option<&Tensor> {
        self.values.as_ref()
    }

    /// What multiplies after decoding, F32 `[1]`.
    pub fn scale_inv(&self) -> &Tensor {
        &self.scale_inv
    }

    /// The head-room in the scale, F32 `[1]`; 1 unless it is automatic.
    pub fn mu(&self) -> &Tensor {
        &self.mu
    }

    /// The largest amax of this step's casts, F32 `[1]`: not finite if any micro-batch was not.
    /// It stays 0 for a gradient in f32, whose sum of squares tells the same.
    pub fn amax(&self) -> &Tensor {
        &self.meter.amax
    }

    /// What this step's casts and sums have lost, U64: elements that saturated and that became 0, `[2]`, and codes of
    /// the sum over ranks that are the format's largest, `[1]`. Where ranks share the gradient, or have its shards,
    /// they are to be summed.
    pub fn counters(&self) -> [&Tensor; 2] {
        [&self.meter.counts, &self.largest]
    }

    /// What this step's casts did, for an FP8 gradient; on all ranks together.
    pub fn reading(&self, queue: &Queue) -> Result<Option<Reading>> {
        if !self.is_scaled() {
            return Ok(None);
        }
        let reading = self.meter.read(queue)?;
        let peers = self.share.peers as u64;
        Ok(reading.map(|reading| Reading { elements: reading.elements * peers, ..reading }))
    }

    /// Whether it is kept in FP8.
    pub fn is_scaled(&self) -> bool {
        self.format.format.rule != ScaleRule::None
    }

    fn values(&mut self, queue: &Queue) -> Result<Tensor> {
        if let Some(values) = &self.values {
            return Ok(values.clone());
        }
        let values = queue.alloc(self.format.format.dtype, self.shape, self.label)?;
        self.values = Some(values.clone());
        Ok(values)
    }

    /// Adds it to what is not cast yet.
    fn add_pending(&mut self, queue: &Queue, gradient: Tensor) -> Result<()> {
        if let Some(sum) = &self.pending {
            return ops::accumulate(queue, &gradient, sum);
        }
        self.pending = Some(gradient);
        Ok(())
    }

    /// Makes what the tree has summed pending, if there is a tree and it has.
    fn sum_tree(&mut self, queue: &Queue) -> Result<()> {
        let Some(tree) = &mut self.tree else { return Ok(()) };
        if let Some(leaf) = self.pending.take() {
            tree.add(queue, leaf)?;
        }
        self.pending = tree.take(queue)?;
        self.started |= self.pending.is_some();
        Ok(())
    }

    /// The sum that was cast already, in f32.
    fn held(&mut self, queue: &Queue) -> Result<Tensor> {
        let held = queue.alloc(DType::F32, self.shape, ops::ACTIVATIONS)?;
        ops::fill(queue, &held, 0.0)?;
        if self.started {
            let values = self.values(queue)?;
            ops::accumulate_dequantized(queue, &values, &self.scale_inv, &held)?;
        }
        Ok(held)
    }

    /// Lets go of memory that does not stay.
    fn leave(&mut self) {
        if !self.share.stays {
            self.values = None;
        }
    }

    /// Keeps what is pending, if something is, of a gradient in f32.
    fn store(&mut self, queue: &Queue) -> Result<()> {
        let Some(sum) = self.pending.take() else { return Ok(()) };
        ops::cast_into(queue, &sum, &self.values(queue)?)
    }

    /// Casts what is pending, if something is, under a scale of this rank's own, or of all shards.
    fn cast(&mut self, queue: &Queue) -> Result<()> {
        let Some(gradient) = self.pending.take() else { return Ok(()) };
        let cast = self.cast_of(queue, gradient)?;
        let amax = queue.alloc(DType::F32, 1, SCALES)?;
        cast.amax(queue, &amax)?;
        let amaxes = slice::from_ref(&amax);
        ops::agree(queue, self.scalars.as_ref(), Reduction::Maximum, amaxes)?;
        cast.run(queue, &amax)
    }

    /// The number of a cast's first word. Ranks round what differs, each by words of its own; shards that are a
    /// tensor's rows take the words of the whole.
    fn first_word(&self, elements: usize) -> u64 {
        let cast = self.casts * self.share.ranks as u64 + self.share.rank as u64;
        let (place, members) = (self.scalars.rank(), self.scalars.size());
        (cast * members as u64 + place as u64) * elements as u64
    }

    /// The cast of a gradient, counted as done.
    fn cast_of(&mut self, queue: &Queue, gradient: Tensor) -> Result<GradientCast> {
        self.started = true;
        self.meter.record(&gradient, Scales::Plain(self.scale.clone()));
        let first = self.first_word(gradient.elements());
        let words = self.noise.map(|noise| (noise.stream(Use::Gradient), first));
        self.casts += 1;
        Ok(GradientCast {
            values: self.values(queue)?,
            gradient,
            rule: self.format.format.rule,
            head: if self.format.head_room == HeadRoom::Auto { &self.mu } else { &self.head }
                .clone(),
            scale: self.scale.clone(),
            scale_inv: self.scale_inv.clone(),
            meter: self.meter.clone(),
            largest: self.largest.clone(),
            words,
        })
    }
}
