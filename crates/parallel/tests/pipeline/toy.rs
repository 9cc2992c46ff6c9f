//! Stages whose results tell what went into them.

use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use fp8lm_device::{DType, Label, Queue, Result, Tensor};
use fp8lm_ops as ops;
use fp8lm_parallel::Stage;

/// What toys hand on. Rows are longer than a tile, and end in a part of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) stages: usize,
    pub(crate) dtype: DType,
}

pub(crate) const SHAPE: [usize; 2] = [3, 150];
pub(crate) const TEST: Label = Label("test");

/// y = a x + b, with a and b of the stage; dx = a dy + x, and the gradient of the weights is the sum of x + dy. In F32
/// all are small whole numbers, so that no sum is rounded.
pub(crate) struct Toy {
    stage: usize,
    form: Form,
    a: Tensor,
    b: Tensor,
    dw: Tensor,
    stash: BTreeMap<usize, Stash>,
    is_looking: bool,
    /// What is in stashes of all toys of a rank, and the most that was.
    held: Rc<Cell<(usize, usize)>>,
    outputs: BTreeMap<usize, Tensor>,
    input_gradients: BTreeMap<usize, Tensor>,
}

struct Stash {
    x: Tensor,
    dy: Option<Tensor>,
}

/// All that came of a toy, by bits: the last one's outputs, the first one's gradients, by micro-batch, and the gradient
/// of the weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct End {
    pub(crate) outputs: BTreeMap<usize, Vec<u8>>,
    pub(crate) input_gradients: BTreeMap<usize, Vec<u8>>,
    pub(crate) dw: Vec<f32>,
}

impl Toy {
    pub(crate) fn new(
        queue: &Queue,
        stage: usize,
        form: Form,
        held: &Rc<Cell<(usize, usize)>>,
    ) -> Result<Self> {
        let a = queue.upload(&[[1.0f32, -1.0, 2.0][stage % 3]], 1, TEST)?;
        let b = queue.alloc(form.dtype, SHAPE, TEST)?;
        ops::fill(queue, &b, stage as f32 + 1.0)?;
        let dw = queue.alloc(DType::F32, SHAPE, TEST)?;
        ops::fill(queue, &dw, 0.0)?;
        let (stash, outputs, input_gradients) = Default::default();
        let (is_looking, held) = (false, held.clone());
        Ok(Self { stage, form, a, b, dw, stash, is_looking, held, outputs, input_gradients })
    }

    /// It keeps nothing for gradients.
    pub(crate) fn looking(self) -> Self {
        Self { is_looking: true, ..self }
    }

    pub(crate) fn end(&self, queue: &Queue) -> Result<End> {
        assert!(self.stash.is_empty(), "every micro-batch that went forward has come back");
        let bytes = |tensors: &BTreeMap<usize, Tensor>| {
            let bytes = |(&index, x)| Ok((index, queue.download_bytes(x)?));
            tensors.iter().map(bytes).collect::<Result<_>>()
        };
        let (outputs, input_gradients) = (bytes(&self.outputs)?, bytes(&self.input_gradients)?);
        Ok(End { outputs, input_gradients, dw: queue.download(&self.dw)? })
    }

    /// The micro-batch itself.
    fn input(&self, queue: &Queue, micro_batch: usize) -> Result<Tensor> {
        let value = |place: usize| ((micro_batch * 7 + place) % 13) as f32 - 6.0;
        let values: Vec<_> = (0..SHAPE[0] * SHAPE[1]).map(value).collect();
        ops::cast(queue, &queue.upload(&values, SHAPE, TEST)?, self.form.dtype)
    }

    /// a x + z
    fn combine(&self, queue: &Queue, x: &Tensor, z: &Tensor) -> Result<Tensor> {
        let scaled = queue.alloc(self.form.dtype, SHAPE, TEST)?;
        ops::scale_into(queue, x, &self.a, &scaled)?;
        ops::add(queue, &scaled, z)
    }

    fn hold(&self, change: isize) {
        let (held, most) = self.held.get();
        let held = held.checked_add_signed(change).unwrap();
        self.held.set((held, most.max(held)));
    }

    fn is_last(&self) -> bool {
        self.stage + 1 == self.form.stages
    }
}

impl Stage for Toy {
    fn forward(
        &mut self,
        queue: &Queue,
        micro_batch: usize,
        x: Option<Tensor>,
    ) -> Result<Option<Tensor>> {
        assert_eq!(x.is_none(), self.stage == 0);
        let x = x.map_or_else(|| self.input(queue, micro_batch), Ok)?;
        let y = self.combine(queue, &x, &self.b)?;
        if !self.is_looking {
            let dy = self.is_last().then(|| y.clone());
            assert!(self.stash.insert(micro_batch, Stash { x, dy }).is_none());
            self.hold(1);
        }
        if !self.is_last() {
            return Ok(Some(y));
        }
        self.outputs.insert(micro_batch, y);
        Ok(None)
    }

    fn backward(
        &mut self,
        queue: &Queue,
        micro_batch: usize,
        dy: Option<Tensor>,
    ) -> Result<Option<Tensor>> {
        let dx = self.input_gradient(queue, micro_batch, dy)?;
        self.weight_gradient(queue, micro_batch)?;
        Ok(dx)
    }

    fn input_gradient(
        &mut self,
        queue: &Queue,
        micro_batch: usize,
        dy: Option<Tensor>,
    ) -> Result<Option<Tensor>> {
        let Stash { x, dy: kept } = self.stash.get(&micro_batch).unwrap();
        assert!(dy.is_some() != kept.is_some());
        let (x, dy) = (x.clone(), dy.or(kept.clone()).unwrap());
        let dx = self.combine(queue, &dy, &x)?;
        self.stash.insert(micro_batch, Stash { x, dy: Some(dy) });
        if self.stage > 0 {
            return Ok(Some(dx));
        }
        assert!(self.input_gradients.insert(micro_batch, dx).is_none());
        Ok(None)
    }

    fn weight_gradient(&mut self, queue: &Queue, micro_batch: usize) -> Result<()> {
        let Stash { x, dy } = self.stash.remove(&micro_batch).unwrap();
        self.hold(-1);
        ops::accumulate(queue, &x, &self.dw)?;
        ops::accumulate(queue, &dy.unwrap(), &self.dw)
    }
}
