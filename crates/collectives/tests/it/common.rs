//! Ranks, and numbers for them.

use std::sync::Arc;

use fp8lm_collectives::{Algorithm, Composed};
use fp8lm_device::{DType, Label, Queue, Result, Tensor};
use fp8lm_sim::{Emulator, Rank, Streams, World, WorldOptions};

pub(crate) const TYPES: [DType; 5] =
    [DType::F32, DType::BF16, DType::F16, DType::E4M3, DType::E5M2];

pub(crate) fn world(ranks: usize) -> World {
    World::new(&Emulator::default(), WorldOptions { ranks, ..WorldOptions::default() })
}

/// Ranks whose streams do all as late and as oddly as events allow.
pub(crate) fn adversarial(ranks: usize, seed: u64) -> World {
    let options =
        WorldOptions { ranks, streams: Streams::Adversarial { seed }, ..Default::default() };
    World::new(&Emulator::default(), options)
}

/// Of each size two worlds: streams in order, and adversarial ones.
pub(crate) fn worlds(
    sizes: impl IntoIterator<Item = usize>,
) -> impl Iterator<Item = (usize, Arc<World>)> {
    let both = |size| [world(size), adversarial(size, size as u64)].map(Arc::new);
    sizes.into_iter().flat_map(move |size| both(size).map(|world| (size, world)))
}

/// What a rank of a test works with.
pub(crate) struct Member {
    pub(crate) rank: usize,
    pub(crate) queue: Queue,
    pub(crate) group: Composed,
}

impl Member {
    pub(crate) fn new(rank: Rank, algorithm: Algorithm) -> Result<Self> {
        let queue = Queue::new(rank.device.clone())?;
        let group = Composed::new(rank.link.clone(), &queue, algorithm)?;
        let group = group.with_fp8_ring_ranks(usize::MAX);
        Ok(Self { rank: rank.link.rank(), queue, group })
    }

    pub(crate) fn tensor(&self, dtype: DType, bytes: &[u8]) -> Result<Tensor> {
        let tensor = self.queue.alloc(dtype, bytes.len() / dtype.bytes(), Label("test"))?;
        self.queue.write_bytes(bytes, &tensor)?;
        Ok(tensor)
    }
}

/// Runs `body` on every rank.
pub(crate) fn on_all<T: Send>(world: &World, body: impl Fn(Member) -> Result<T> + Sync) -> Vec<T> {
    let run = |rank| body(Member::new(rank, Algorithm::default())?);
    world.run(run).unwrap_or_else(|error| panic!("{error}"))
}

/// A third of the elements are any bits, the others numbers of moderate size, different for each seed.
pub(crate) fn bytes(dtype: DType, elements: usize, seed: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for index in 0..elements {
        let random = hash((seed * 1_000_003 + index) as u64);
        let any = random.to_le_bytes();
        let number = (random >> 40) as i32 as f32 / 16_777_216.0 * 8.0 - 4.0;
        let bits = if random.is_multiple_of(3) || dtype == DType::U64 {
            any[..dtype.bytes()].to_vec()
        } else {
            crate::reducing::model::encode(dtype, number)
        };
        all.extend(bits);
    }
    all
}

pub(crate) fn hash(x: u64) -> u64 {
    let mut x = x.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Panics at the first byte that differs.
pub(crate) fn expect_bytes(got: &[u8], expected: &[u8], about: impl FnOnce() -> String) {
    if got != expected {
        let at = got.iter().zip(expected).position(|(a, b)| a != b);
        let about = about();
        panic!(
            "{about}: byte {at:?} of {} and {}: {got:x?} {expected:x?}",
            got.len(),
            expected.len()
        );
    }
}
