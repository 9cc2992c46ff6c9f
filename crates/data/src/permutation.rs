//! A shuffle of `0..size` that is computed, not stored: a keyed Feistel network.
//!
//! A balanced Feistel network permutes the numbers of `2 * half_bits` bits whatever its round
//! function (Luby and Rackoff, 1988). Where it leaves `0..size` it is applied again until it is
//! back inside ("cycle walking": Black and Rogaway, 2002), which stays a permutation. The network's
//! domain is below `4 * size`, so that takes four applications on average at most.

/// A permutation of `0..size`, one for each `(seed, epoch)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permutation {
    size: u64,
    half_bits: u32,
    key: u64,
}

impl Permutation {
    pub(crate) fn new(size: u64, seed: u64, epoch: u64) -> Self {
        let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
        let half_bits = bits.div_ceil(2).max(1);
        Self { size, half_bits, key: hash(seed, epoch) }
    }

    /// Where `index`, below `size`, goes.
    pub(crate) fn apply(&self, index: u64) -> u64 {
        let mut index = self.network(index);
        while index >= self.size {
            index = self.network(index);
        }
        index
    }

    fn network(&self, index: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (index >> self.half_bits, index & mask);
        for round in 0..ROUNDS {
            let mixed = hash(self.key.wrapping_add(round), right) & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << self.half_bits | right
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014) over two words.
pub(crate) fn hash(key: u64, value: u64) -> u64 {
    mix(mix(key).wrapping_add(value))
}

fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Four give a pseudorandom permutation; small domains mix better with a few more.
const ROUNDS: u64 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn permutes(size in 1u64..3000, seed: u64, epoch: u64) {
            let permutation = Permutation::new(size, seed, epoch);
            let mut seen = vec![false; size as usize];
            for index in 0..size {
                let to = permutation.apply(index);
                prop_assert!(to < size, "{index} -> {to} of {size}");
                prop_assert!(!seen[to as usize], "{index} -> {to} for the second time");
                seen[to as usize] = true;
            }
        }

        #[test]
        fn holds_at_any_size(size in 1u64..1 << 62, index: u64, seed: u64) {
            prop_assert!(Permutation::new(size, seed, 0).apply(index % size) < size);
        }
    }

    /// Run orders are part of a checkpoint's meaning: the function may not change by accident.
    #[test]
    fn is_pinned() {
        let order: Vec<u64> = (0..10).map(|i| Permutation::new(10, 1, 0).apply(i)).collect();
        assert_eq!(order, [5, 6, 3, 0, 7, 8, 9, 4, 2, 1]);
    }

    /// Over 10,000 keys each of 8 places gets each of 8 numbers 1250 times in the mean with a
    /// standard deviation of sqrt(10000 / 8 * 7 / 8) = 33; six of them are allowed.
    #[test]
    fn is_even() {
        for index in 0..8 {
            let mut counts = [0i32; 8];
            for epoch in 0..10_000 {
                counts[Permutation::new(8, 7, epoch).apply(index) as usize] += 1;
            }
            for (to, count) in counts.into_iter().enumerate() {
                assert!((count - 1250).abs() < 200, "{index} -> {to}: {count} times");
            }
        }
    }
}
