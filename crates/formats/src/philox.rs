//! Philox4x32-10, the counter-based generator behind stochastic rounding.
//!
//! Each random word is a pure function of seed, tensor, draw and element index (Salmon et al., "Parallel random
//! numbers: as easy as 1, 2, 3", 2011), so results depend neither on threads nor on how a tensor is divided.

/// Ten rounds of Philox on a counter of four words under a key of two.
#[inline]
#[must_use]
pub const fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut round = 0;
    while round < 10 {
        let first = counter[0] as u64 * 0xD251_1F53;
        let second = counter[2] as u64 * 0xCD9E_8D57;
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        // Weyl sequences by the golden ratio and by sqrt(3) - 1.
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        round += 1;
    }
    counter
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
