//! Figures of one gradient, or of several together.

use super::{head_room::are_too_many, reduction::Algorithm};

/// What one way to scale and to sum does to a gradient, or to several.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    /// The power of the error relative to that of the mean, summed over gradients.
    pub(super) noise: f64,
    pub(super) gradients: u32,
    /// Elements that all ranks cast.
    pub(super) elements: u64,
    /// Those beyond the largest of E4M3 before the cast.
    pub(super) saturated: u64,
    /// Those that were not 0 before the cast and are after it.
    pub(super) underflowed: u64,
    /// Elements of the sum.
    pub(super) summed: u64,
    /// Those that are the largest of E4M3.
    pub(super) largest: u64,
    /// Those that are 0 where the mean is not.
    pub(super) vanished: u64,
    /// The smallest and the largest head-room.
    pub(super) head: [f32; 2],
}

impl Measured {
    /// Of both together.
    pub(super) fn and(self, other: &Self) -> Self {
        let head = match self.gradients {
            0 => other.head,
            _ => [self.head[0].min(other.head[0]), self.head[1].max(other.head[1])],
        };
        Self {
            noise: self.noise + other.noise,
            gradients: self.gradients + other.gradients,
            elements: self.elements + other.elements,
            saturated: self.saturated + other.saturated,
            underflowed: self.underflowed + other.underflowed,
            summed: self.summed + other.summed,
            largest: self.largest + other.largest,
            vanished: self.vanished + other.vanished,
            head,
        }
    }

    /// The power of the mean over that of the error, in dB. Every gradient counts alike.
    pub(super) fn snr(&self) -> f64 {
        -10.0 * (self.noise / f64::from(self.gradients)).log10()
    }

    /// Of elements cast.
    pub(super) fn underflow(&self) -> f64 {
        self.underflowed as f64 / self.elements as f64
    }

    /// Of elements cast.
    pub(super) fn saturation(&self) -> f64 {
        self.saturated as f64 / self.elements as f64
    }

    /// Of elements of the sum, where it is carried in codes.
    pub(super) fn sum_saturation(&self) -> f64 {
        self.largest as f64 / self.summed as f64
    }

    /// Of elements of the sum.
    pub(super) fn vanishing(&self) -> f64 {
        self.vanished as f64 / self.summed as f64
    }

    /// Whether mu halves.
    pub(super) fn saturates(&self, algorithm: Algorithm) -> bool {
        let in_sums = algorithm.carries_codes() && are_too_many(self.largest, self.summed);
        in_sums || are_too_many(self.saturated, self.elements)
    }
}
