//! A weight: its master, its working copy, its gradient.

use fp8lm_device::{DType, Label, Queue, Result, Shape, Tensor};
use fp8lm_ops::{self as ops, BlockCast, Noise, ScaleRule, Use};

use crate::{Format, Gemm, Gradient, Labels, Meter, Precision, Rounded, SCALES, Scaled, Stored};

/// What a parameter is.
#[derive(Clone, Debug)]
pub struct ParameterSpec {
    /// Its name, unique in the model.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// Its formats.
    pub precision: Precision,
    /// The rows of the memory table that it fills.
    pub labels: &'static Labels,
    /// Whether weight decay applies to it.
    pub decays: bool,
    /// What it is rounded by where the recipe says stochastically; its step is the first.
    pub noise: Noise,
}

/// A weight: its master, its working copy, its gradient.
#[derive(Debug)]
pub struct Parameter {
    spec: ParameterSpec,
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
    /// A parameter with these values.
    ///
    /// # Panics
    /// If their number is not that of the shape.
    pub fn new(queue: &Queue, spec: ParameterSpec, values: &[f32]) -> Result<Self> {
        let ParameterSpec { precision, labels, shape, .. } = &spec;
        let values = queue.upload(values, *shape, Label("initial values"))?;
        let master = Some(Stored::from_tensor(queue, precision.master, &values, labels.master)?);
        let working = match precision.working {
            Some(dtype) => Some(Working::new(queue, dtype, &spec)?),
            None => None,
        };
        let gradient = Gradient::new(queue, precision.gradient, *shape, labels.gradient)?;
        let noise = spec.noise;
        let parameter = Self { master, working, gradient, is_owned: true, spec, noise };
        parameter.refresh(queue, noise.step)?;
        Ok(parameter)
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
        let noise = stochastic.then_some(Noise { step, ..self.noise });
        if master.format() == Format::plain(DType::F32) {
            return working.store(queue, &master.values, noise);
        }
        working.store(queue, &master.load(queue, DType::F32)?, noise)
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

    fn store(&self, queue: &Queue, x: &Tensor, noise: Option<Noise>) -> Result<()> {
        if let Some((cast, Meter { amax, counts, .. })) = &self.blocks {
            let (code, scale_inv) = (&self.stored.values, &self.scale_inv);
            return ops::quantize_blocks(queue, x, *cast, code, scale_inv, amax, counts);
        }
        match noise {
            Some(noise) => self.stored.store_stochastic(queue, x, noise.stream(Use::Weight))?,
            None => self.stored.store(queue, x)?,
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
