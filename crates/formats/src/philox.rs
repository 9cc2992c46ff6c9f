//! Philox4x32-10, the counter-based generator behind stochastic rounding.
//!
//! Each random word is a pure function of seed, tensor, draw and element index (Salmon et al., "Parallel random
//! numbers: as easy as 1, 2, 3", 2011), so results depend neither on threads nor on how a tensor is divided.

use core::array::from_fn;

/// Ten rounds of Philox on a counter of four words under a key of two.
#[inline]
#[must_use]
pub const fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut done = 0;
    while done < 10 {
        counter = round(counter, key);
        key = next_key(key);
        done += 1;
    }
    counter
}

#[inline(always)]
const fn round(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let first = counter[0] as u64 * 0xD251_1F53;
    let second = counter[2] as u64 * 0xCD9E_8D57;
    [
        (second >> 32) as u32 ^ counter[1] ^ key[0],
        second as u32,
        (first >> 32) as u32 ^ counter[3] ^ key[1],
        first as u32,
    ]
}

/// Weyl sequences by the golden ratio and by sqrt(3) - 1.
#[inline(always)]
const fn next_key(key: [u32; 2]) -> [u32; 2] {
    [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)]
}

/// What is being rounded; keeps the draws of one step apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// A gradient.
    Gradient = 0,
    /// The first moment of the optimizer.
    FirstMoment = 1,
    /// The second moment of the optimizer.
    SecondMoment = 2,
    /// A master weight.
    Master = 3,
    /// An activation.
    Activation = 4,
    /// A working weight.
    Weight = 5,
}

/// The random words of one tensor in one draw: word `index` belongs to element `index` of the whole tensor, wherever
/// its shards lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StochasticStream {
    /// The seed of the run: the key of the generator.
    pub seed: u64,
    /// The number of the tensor.
    pub tensor: u32,
    /// The number of the draw; see [`StochasticStream::draw`].
    pub draw: u32,
}

impl StochasticStream {
    /// The draw of a use in a training step, `8 * step + use`; it repeats after 2^29 steps.
    #[must_use]
    pub const fn draw(step: u64, purpose: Use) -> u32 {
        (step as u32).wrapping_mul(8).wrapping_add(purpose as u32)
    }

    /// The word of element `index`.
    #[inline]
    #[must_use]
    pub const fn word(&self, index: u64) -> u32 {
        self.block(index / 4)[(index % 4) as usize]
    }

    /// The words of the elements from `start` on.
    #[inline]
    #[must_use]
    pub const fn words(&self, start: u64) -> Words {
        Words { stream: *self, index: start, block: self.block(start / 4) }
    }

    /// Writes the words of the elements from `start` on. Compiled as SIMD code where it is inlined into
    /// [`Isa::run`](crate::Isa::run).
    #[inline(always)]
    pub fn fill(&self, start: u64, out: &mut [u32]) {
        let head = out.len().min((start.wrapping_neg() % 4) as usize);
        let (first, rest) = out.split_at_mut(head);
        first.iter_mut().zip(self.words(start)).for_each(|(out, word)| *out = word);
        let mut number = start.wrapping_add(head as u64) / 4;
        let (groups, last) = rest.as_chunks_mut();
        for group in groups {
            self.blocks(number, group);
            number = number.wrapping_add(LANES as u64);
        }
        let start = number.wrapping_mul(4);
        last.iter_mut().zip(self.words(start)).for_each(|(out, word)| *out = word);
    }

    /// As many blocks side by side as a SIMD register has lanes.
    #[inline(always)]
    fn blocks(&self, number: u64, out: &mut [u32; 4 * LANES]) {
        let numbers: [u64; LANES] = from_fn(|lane| number.wrapping_add(lane as u64));
        let (mut a, mut b) = (numbers.map(|n| n as u32), numbers.map(|n| (n >> 32) as u32));
        let (mut c, mut d) = ([self.tensor; LANES], [self.draw; LANES]);
        let mut key = [self.seed as u32, (self.seed >> 32) as u32];
        for _ in 0..10 {
            for ((a, b), (c, d)) in a.iter_mut().zip(&mut b).zip(c.iter_mut().zip(&mut d)) {
                [*a, *b, *c, *d] = round([*a, *b, *c, *d], key);
            }
            key = next_key(key);
        }
        for (lane, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
            *out = [a[lane], b[lane], c[lane], d[lane]];
        }
    }

    #[inline]
    const fn block(&self, number: u64) -> [u32; 4] {
        let counter = [number as u32, (number >> 32) as u32, self.tensor, self.draw];
        philox4x32_10(counter, [self.seed as u32, (self.seed >> 32) as u32])
    }
}

/// An endless iterator over the words of a [`StochasticStream`], one generator call per four.
#[derive(Clone, Debug)]
pub struct Words {
    stream: StochasticStream,
    index: u64,
    block: [u32; 4],
}

impl Iterator for Words {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let word = self.block[(self.index % 4) as usize];
        self.index = self.index.wrapping_add(1);
        if self.index.is_multiple_of(4) {
            self.block = self.stream.block(self.index / 4);
        }
        Some(word)
    }
}

const LANES: usize = 16;
