//! Members as threads, and shards on the host.

use std::sync::Arc;

use fp8lm_collectives::{Algorithm, Collectives, Composed};
use fp8lm_device::{DType, Label, Queue, Result, Tensor};
use fp8lm_model::Split;
use fp8lm_ops as ops;
use fp8lm_scaling::{Recipe, Shard, WireFormat, recipe};
use fp8lm_sim::{Emulator, Rank, Streams, World, WorldOptions};

pub(crate) const TEST: Label = Label("test");
pub(crate) const RECIPES: [&str; 6] = ["fp32", "bf16", "fp8lm-1", "fp8lm-3", "te", "deepseek-v3"];

/// How a group shares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sharing {
    pub(crate) members: usize,
    pub(crate) sequence: bool,
    pub(crate) streams: Streams,
}

/// Groups of two and of four, with and without rows of their own, on streams in order and late ones.
pub(crate) fn sharings() -> Vec<Sharing> {
    let late = Streams::Adversarial { seed: 7 };
    let sharing = |members, sequence, streams| Sharing { members, sequence, streams };
    vec![
        sharing(2, false, Streams::InOrder),
        sharing(2, true, late),
        sharing(4, false, late),
        sharing(4, true, Streams::InOrder),
    ]
}

impl Sharing {
    pub(crate) fn world(self) -> World {
        let Self { members: ranks, streams, .. } = self;
        World::new(&Emulator::default(), WorldOptions { ranks, streams, ..Default::default() })
    }
}

/// What a member does its work with.
pub(crate) struct Member {
    pub(crate) queue: Queue,
    pub(crate) split: Split,
    pub(crate) place: usize,
    pub(crate) books: Option<Composed>,
}

impl Member {
    pub(crate) fn alone() -> Self {
        let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
        Self { queue, split: Split::none(), place: 0, books: None }
    }

    fn new(rank: Rank, sequence: bool) -> Result<Self> {
        let queue = Queue::new(rank.device)?;
        let group = Composed::new(rank.link, &queue, Algorithm::RoundOnce)?;
        let split = Split::new(Arc::new(group.clone()), sequence);
        Ok(Self { queue, split, place: group.rank(), books: Some(group) })
    }

    /// A matrix of which the member has its shard.
    pub(crate) fn upload(&self, whole: &[f32], shard: Shard, rows: usize, dtype: DType) -> Tensor {
        let own = shard.slice(whole);
        let x = self.queue.upload(&own, [rows, own.len() / rows], TEST).unwrap();
        ops::cast(&self.queue, &x, dtype).unwrap()
    }

    pub(crate) fn shard(&self, outer: usize) -> Shard {
        Shard { outer, place: self.place, members: self.split.members() }
    }

    /// The own rows, or all.
    pub(crate) fn rows(&self) -> Shard {
        if self.split.has_own_rows() { self.shard(1) } else { Shard::WHOLE }
    }

    pub(crate) fn values(&self, x: &Tensor) -> Vec<f32> {
        let x = ops::cast(&self.queue, x, DType::F32).unwrap();
        self.queue.download(&x).unwrap()
    }
}

/// What each member of a group returns.
pub(crate) fn together<T: Send>(sharing: Sharing, body: impl Fn(Member) -> T + Sync) -> Vec<T> {
    together_in(&sharing.world(), sharing, body)
}

/// The same, in a world that counts what they send.
pub(crate) fn together_in<T: Send>(
    world: &World,
    sharing: Sharing,
    body: impl Fn(Member) -> T + Sync,
) -> Vec<T> {
    let work = |rank| -> Result<T> { Ok(body(Member::new(rank, sharing.sequence)?)) };
    world.run(work).unwrap()
}

/// A recipe, and the form in which gradients of inputs travel under it.
pub(crate) fn recipe_with(name: &str, reduce_scatter: WireFormat) -> Recipe {
    let mut recipe = recipe(name).unwrap();
    recipe.wire.reduce_scatter = reduce_scatter;
    recipe
}

/// Values of eight bits, as BF16 has, whose rows and columns differ in size.
pub(crate) fn matrix(seed: usize, rows: usize, cols: usize) -> Vec<f32> {
    let value = |i: usize| {
        let (row, col) = (i / cols, i % cols);
        let fraction = ((i + seed) * 7919 % 257) as f32 / 128.0 - 1.0;
        fraction * 2f32.powi((row % 5) as i32 - (col % 3) as i32)
    };
    (0..rows * cols).map(value).collect()
}

#[track_caller]
pub(crate) fn assert_bits(about: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{about}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let (a, b) = (got.to_bits(), want.to_bits());
        assert!(a == b, "{about}, element {i}: {got} ({a:08x}), expected {want} ({b:08x})");
    }
}
