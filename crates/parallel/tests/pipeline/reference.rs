//! Micro-batch by micro-batch, on one device: what must come out.

use std::{collections::BTreeMap, sync::Arc};

use fp8lm_device::{DType, Queue, Result, Tensor};
use fp8lm_ops::{self as ops, BlockCast, BlockRule, Blocks};
use fp8lm_parallel::{Place, Program, Stage};
use fp8lm_scaling::WireFormat;

use crate::{
    ranks::emulator,
    toy::{End, Form, SHAPE, TEST, Toy},
};

/// What comes of the toy at each place.
pub(crate) fn reference(program: &Program, dtype: DType, wire: WireFormat) -> BTreeMap<Place, End> {
    let queue = Queue::new(Arc::new(emulator())).unwrap();
    let form = Form { stages: program.stages(), dtype };
    let places = (0..program.micro_batches()).flat_map(|m| program.path(m).iter().enumerate());
    let toy = |stage| Toy::new(&queue, stage, form, &Default::default()).unwrap();
    let mut toys: BTreeMap<_, _> = places.map(|(stage, &place)| (place, toy(stage))).collect();
    let reference = Reference { queue: &queue, program, wire };
    for micro_batch in 0..program.micro_batches() {
        reference.forward(&mut toys, micro_batch).unwrap();
        reference.backward(&mut toys, micro_batch).unwrap();
    }
    toys.iter().map(|(&place, toy)| (place, toy.end(&queue).unwrap())).collect()
}

struct Reference<'a> {
    queue: &'a Queue,
    program: &'a Program,
    wire: WireFormat,
}

impl Reference<'_> {
    fn forward(&self, toys: &mut BTreeMap<Place, Toy>, micro_batch: usize) -> Result<()> {
        let path = self.program.path(micro_batch);
        let mut x = None;
        for (stage, place) in path.iter().enumerate() {
            let y = toys.get_mut(place).unwrap().forward(self.queue, micro_batch, x)?;
            x = self.carry(y, *place, path.get(stage + 1))?;
        }
        Ok(())
    }

    fn backward(&self, toys: &mut BTreeMap<Place, Toy>, micro_batch: usize) -> Result<()> {
        let path = self.program.path(micro_batch);
        let mut dy = None;
        for (stage, place) in path.iter().enumerate().rev() {
            let dx = toys.get_mut(place).unwrap().backward(self.queue, micro_batch, dy)?;
            dy = self.carry(dx, *place, stage.checked_sub(1).map(|before| &path[before]))?;
        }
        Ok(())
    }

    /// What arrives at the next place.
    fn carry(&self, x: Option<Tensor>, from: Place, to: Option<&Place>) -> Result<Option<Tensor>> {
        match (x, to) {
            (Some(x), Some(to)) if to.rank != from.rank => self.cross(&x).map(Some),
            (x, _) => Ok(x),
        }
    }

    fn cross(&self, x: &Tensor) -> Result<Tensor> {
        let queue = self.queue;
        if self.wire == WireFormat::Activations {
            return Ok(x.clone());
        }
        let cast = BlockCast { blocks: Blocks::Tile, rule: BlockRule::Exact, divide: true };
        let code = queue.alloc(DType::E4M3, SHAPE, TEST)?;
        let factors = queue.alloc(DType::F32, [SHAPE[0], 2], TEST)?;
        let (amax, counts) = (queue.upload(&[0f32], 1, TEST)?, queue.upload(&[0u64; 2], 2, TEST)?);
        ops::quantize_blocks(queue, x, cast, &code, &factors, &amax, &counts)?;
        let y = queue.alloc(x.dtype(), SHAPE, TEST)?;
        ops::dequantize_blocks(queue, &code, &factors, Blocks::Tile, &y)?;
        Ok(y)
    }
}
