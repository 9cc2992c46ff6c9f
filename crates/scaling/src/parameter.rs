//! A weight: its master, its working copy, its gradient.

use std::sync::Arc;

use fp8lm_device::{Collectives, DType, Label, Queue, Result, Shape, Tensor};
use fp8lm_ops::{self as ops, BlockCast, Noise, ScaleRule, StochasticStream, Use};

use crate::{
    Format, Gemm, Gradient, Labels, Meter, Precision, Rounded, SCALARS, SCALES, Scaled, Shard,
    Stored,
};

/// What a parameter is.
#[derive(Clone, Debug)]
pub struct ParameterSpec {
    /// Its name, unique in the model.
    pub name: String,
    /// Its shape, of this rank's part.
    pub shape: Shape,
    /// Which part of the tensor it is.
    pub shard: Shard,
    /// Its formats.
    pub precision: Precision,
    /// The rows of the memory table that it fills.
    pub labels: &'static Labels,
    /// Whether weight decay applies to it.
    pub decays: bool,
    /// What it is rounded by where the recipe says stochastically; its step is the first.
    pub noise: Noise,
}

/// A weight, or a shard of one: its master, its working copy, its gradient.
///
/// Shards share every scale of the tensor: its amax is the largest that a member of the group has. So codes and scales
/// of master and working copy are, to the bit, those that a whole parameter would have there. Blocks of 128 x 128 and
/// groups of 128 are scaled by what stands here alone: they are those of the whole only if each chunk of the shard is a
/// multiple of 128 long, in rows and columns for blocks, in elements for groups.
#[derive(Debug)]
pub struct Parameter {
    spec: ParameterSpec,
    /// Whose shards are one tensor.
    group: Arc<dyn Collectives>,
    /// The same, for amaxes.
    scalars: Arc<dyn Collectives>,
    /// None where another rank owns it and the working copy serves for reading.
    master: Option<Stored>,
    working: Option<Working>,
    gradient: Gradient,
    /// Whether this rank steps it.
    is_owned: bool,
    /// Of the current step.
    noise: Noise,
}

#[derive(Debug)]
struct Working {
    stored: Stored,
    scale_inv: Tensor,
    /// How it is cast, where blocks have factors.
    blocks: Option<(BlockCast, Meter)>,
}

impl Parameter {
    /// A parameter with these values, those of this rank's part. `group` is of the ranks that have the other parts, in
    /// order of place: [`Alone`](fp8lm_device::Alone) for a whole one. They make, [`refresh`](Self::refresh) and
    /// own it together.
    ///
    /// # Panics
    /// If the number of values is not that of the shape.
    pub fn new(
        queue: &Queue,
        spec: ParameterSpec,
        group: &Arc<dyn Collectives>,
        values: &[f32],
    ) -> Result<Self> {
        let ParameterSpec { precision, labels, shape, .. } = &spec;
        let values = queue.upload(values, *shape, Label("initial values"))?;
        let (group, scalars) = (Arc::clone(group), group.labelled(SCALARS));
        let (format, label) = (precision.master, labels.master);
        let master = Stored::from_tensor(queue, format, &values, label, scalars.as_ref())?;
        let working = match precision.working {
            Some(dtype) => Some(Working::new(queue, dtype, &spec)?),
            None => None,
        };
        let gradient = Gradient::new(queue, precision.gradient, *shape, labels.gradient)?;
        let gradient = gradient.over(scalars.clone());
        let noise = spec.noise;
        let (master, is_owned) = (Some(master), true);
        let parameter = Self { spec, group, scalars, master, working, gradient, is_owned, noise };
        parameter.refresh(queue, noise.step)?;
        Ok(parameter)
    }

    /// The ranks that have the other parts of the tensor.
    pub fn group(&self) -> &Arc<dyn Collectives> {
        &self.group
    }

    /// Leaves its states to another rank: the master is dropped, unless reading needs it.
    pub fn disown(&mut self) {
        self.is_owned = false;
        if self.working.is_some() {
            self.master = None;
        }
    }

    /// Whether this rank steps it.
    pub fn is_owned(&self) -> bool {
        self.is_owned
    }

    /// Starts a step, counted from 0: its gradient is 0.
    pub fn begin_step(&mut self, queue: &Queue, step: u64) -> Result<()> {
        self.noise.step = step;
        if self.spec.precision.is_stochastic(Rounded::Gradient) {
            self.gradient.set_noise(self.noise);
        }
        self.gradient.begin(queue)
    }

    /// Makes the working copy that step `step` reads anew from the master, where this rank owns it.
    pub fn refresh(&self, queue: &Queue, step: u64) -> Result<()> {
        let (Some(working), Some(master)) = (&self.working, &self.master) else { return Ok(()) };
        let stochastic = self.spec.precision.is_stochastic(Rounded::Working);
        let stream = || Noise { step, ..self.noise }.stream(Use::Weight);
        let words = stochastic.then(|| (stream(), self.first_word()));
        let group = self.scalars.as_ref();
        if master.format() == Format::plain(DType::F32) {
            return working.store(queue, &master.values, words, group);
        }
        working.store(queue, &master.load(queue, DType::F32)?, words, group)
    }

    /// What the other ranks read of it after a step of its owner: the working copy or, without one, the master. Its
    /// values, and its scale if it has one, or those of its blocks.
    pub fn replica(&self) -> Vec<&Tensor> {
        match &self.working {
            Some(working) => working.replica(),
            None => replica(self.master()),
        }
    }

    /// Takes up what was written into [`replica`](Self::replica)'s tensors.
    pub fn receive(&self, queue: &Queue) -> Result<()> {
        self.working.as_ref().map_or(Ok(()), |working| working.invert_scale(queue))
    }

    /// What its states are rounded by in the current step where the recipe says stochastically.
    pub fn noise(&self) -> Noise {
        self.noise
    }

    /// The number of its first element's word in the streams that round its states: shards take different words, and
    /// those of a tensor cut in its rows the whole's own.
    pub fn first_word(&self) -> u64 {
        (self.spec.shard.place * self.spec.shape.elements()) as u64
    }

    /// The weight as a plain multiplication takes it, of type `dtype`.
    ///
    /// Not for working copies in FP8, which [`quantized`](Self::quantized) returns.
    pub fn weight(&self, queue: &Queue, dtype: DType) -> Result<Tensor> {
        let stored = match &self.working {
            Some(working) => &working.stored,
            None => self.master(),
        };
        if stored.format() == Format::plain(dtype) {
            return Ok(stored.values.clone());
        }
        stored.load(queue, dtype)
    }

    /// The working copy, if it is stored in FP8.
    pub fn quantized(&self) -> Option<Scaled> {
        let working = self.working.as_ref()?;
        let is_fp8 = matches!(working.stored.values.dtype(), DType::E4M3 | DType::E5M2);
        is_fp8.then(|| Scaled {
            values: working.stored.values.clone(),
            scale_inv: working.scale_inv.clone(),
        })
    }

    /// What it is.
    pub fn spec(&self) -> &ParameterSpec {
        &self.spec
    }

    /// The master weight.
    ///
    /// # Panics
    /// If another rank owns it, and this one has no use for it.
    pub fn master(&self) -> &Stored {
        self.master.as_ref().expect("a master is used on the rank that owns it")
    }

    /// The gradient.
    pub fn gradient(&self) -> &Gradient {
        &self.gradient
    }

    /// The gradient, to add to.
    pub fn gradient_mut(&mut self) -> &mut Gradient {
        &mut self.gradient
    }

    /// What a resumed run needs, by name. [`refresh`](Self::refresh) makes the rest. The master is its owner's.
    pub fn state(&self) -> Vec<(&'static str, &Tensor)> {
        let mut state = Vec::new();
        if self.is_owned {
            state.extend(["master", "master_scale"].into_iter().zip(replica(self.master())));
        }
        if self.gradient.is_scaled() {
            state.push(("mu", self.gradient.mu()));
        }
        state
    }
}

impl Working {
    /// A working copy in FP8 is scaled as the recipe scales weights.
    fn new(queue: &Queue, dtype: DType, spec: &ParameterSpec) -> Result<Self> {
        let cast = match spec.precision.gemm {
            Gemm::Fp8(casts) if casts.weight.format == dtype => Some(casts.weight),
            _ => None,
        };
        let blocks = cast.and_then(|cast| cast.blocks());
        let (rule, factors) = match (cast, blocks) {
            (_, Some(cast)) => (ScaleRule::None, cast.blocks.scale_shape(spec.shape)),
            (Some(cast), None) => (cast.rule, 1.into()),
            (None, None) => (ScaleRule::None, 1.into()),
        };
        let format = Format { dtype, rule };
        let stored = Stored::zeros(queue, format, spec.shape, spec.labels.working)?;
        let scale_inv = queue.upload(&vec![1.0f32; factors.elements()], factors, SCALES)?;
        let blocks = match blocks {
            Some(cast) => Some((cast, Meter::new(queue)?)),
            None => None,
        };
        Ok(Self { stored, scale_inv, blocks })
    }

    fn store(
        &self,
        queue: &Queue,
        x: &Tensor,
        words: Option<(StochasticStream, u64)>,
        group: &dyn Collectives,
    ) -> Result<()> {
        if let Some((cast, Meter { amax, counts, .. })) = &self.blocks {
            let (code, scale_inv) = (&self.stored.values, &self.scale_inv);
            return ops::quantize_blocks(queue, x, *cast, code, scale_inv, amax, counts);
        }
        match words {
            Some(words) => self.stored.store_stochastic(queue, x, words, group)?,
            None => self.stored.store(queue, x, group)?,
        }
        self.invert_scale(queue)
    }

    fn invert_scale(&self, queue: &Queue) -> Result<()> {
        match self.stored.format().rule {
            ScaleRule::None => Ok(()),
            _ => ops::reciprocal(queue, &self.stored.scale, &self.scale_inv),
        }
    }

    fn replica(&self) -> Vec<&Tensor> {
        match self.blocks {
            Some(_) => vec![&self.stored.values, &self.scale_inv],
            None => replica(&self.stored),
        }
    }
}

/// Values, and the scale if there is one.
fn replica(stored: &Stored) -> Vec<&Tensor> {
    let scale = (stored.format().rule != ScaleRule::None).then_some(&stored.scale);
    [&stored.values].into_iter().chain(scale).collect()
}
