//! One gradient on so many ranks: its cast, its sum, and how far that is from the mean of what was cast.

use fp8lm_formats::E4M3;

use super::{
    cast::{Cast, count, pow2_scale, saturated},
    head_room::{Mode, are_too_many, settled},
    measured::Measured,
    ranks::Reduced,
    reduction::{Algorithm, Sum},
};

/// One gradient on so many ranks.
pub(super) struct Case<'a> {
    ranks: &'a [Vec<f32>],
    /// The mean over ranks, in f64.
    mean: Vec<f64>,
    /// The largest magnitude on any rank.
    amax: f32,
}

/// How the ranks' gradients relate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Likeness {
    /// The square of the sum's norm over the sum of the squares of the norms: 1 for orthogonal gradients, the number of
    /// ranks for equal ones.
    pub(super) power: f64,
    /// The largest magnitude in the sum over the largest on any rank.
    pub(super) amax: f64,
}

impl<'a> Case<'a> {
    pub(super) fn new(ranks: &'a [Vec<f32>]) -> Self {
        let mut mean = vec![0.0f64; ranks[0].len()];
        for gradient in ranks {
            mean.iter_mut().zip(gradient).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        mean.iter_mut().for_each(|x| *x /= ranks.len() as f64);
        let amax = ranks.iter().flatten().fold(0.0f32, |amax, x| amax.max(x.abs()));
        Self { ranks, mean, amax }
    }

    pub(super) fn likeness(&self) -> Likeness {
        let size = self.ranks.len() as f64;
        let alone: f64 = self.ranks.iter().flatten().map(|x| f64::from(*x).powi(2)).sum();
        let together = self.mean.iter().fold(0.0f64, |amax, x| amax.max(x.abs()));
        Likeness {
            power: size * size * power(&self.mean) / alone,
            amax: size * together / f64::from(self.amax),
        }
    }

    /// What the ranks hand to a reduction under this head-room.
    pub(super) fn cast(&self, head: f32) -> Cast {
        Cast::new(self.ranks, head * pow2_scale(self.amax))
    }

    /// The head-room of a mode. That of `auto` is half way between two halvings.
    pub(super) fn head(&self, mode: Mode, algorithm: Algorithm) -> f32 {
        match mode {
            Mode::Pre => 1.0 / self.ranks.len() as f32,
            Mode::Post => 1.0,
            Mode::Auto => settled(|mu| self.saturates(mu, algorithm)),
        }
    }

    pub(super) fn measure(&self, head: f32, algorithm: Algorithm) -> Measured {
        let cast = self.cast(head);
        let sum = algorithm.sum(&cast.codes);
        let scale = self.ranks.len() as f32 * (cast.scale * sum.rescale);
        let mut values = vec![0.0; self.mean.len()];
        E4M3::decode_slice(&sum.codes, 1.0 / scale, &mut values);
        let both = || values.iter().zip(&self.mean);
        let noise: f64 = both().map(|(got, exact)| (f64::from(*got) - exact).powi(2)).sum();
        Measured {
            noise: noise / power(&self.mean),
            gradients: 1,
            elements: self.elements(),
            saturated: cast.saturated,
            underflowed: cast.underflowed,
            summed: self.mean.len() as u64,
            largest: largest(&sum.codes),
            vanished: count(both(), |(got, exact)| *got == 0.0 && *exact != 0.0),
            head: [head; 2],
        }
    }

    /// What every rank has after a sum under this head-room.
    pub(super) fn reduced(&self, head: f32, algorithm: Algorithm) -> Reduced {
        let cast = self.cast(head);
        let Sum { codes, rescale } = algorithm.sum(&cast.codes);
        Reduced {
            scale_inv: 1.0 / (self.ranks.len() as f32 * (cast.scale * rescale)),
            counts: [cast.saturated, cast.underflowed],
            largest: if algorithm.carries_codes() { largest(&codes) } else { 0 },
            codes,
        }
    }

    /// The relative root mean squared error of a sum under this head-room, against the exact sum of the same codes.
    pub(super) fn rounding(&self, head: f32, algorithm: Algorithm) -> f64 {
        let codes = self.cast(head).codes;
        let (errors, sums) = errors(&codes, &algorithm.sum(&codes));
        (errors / sums).sqrt()
    }

    /// Whether mu halves after a step with it.
    fn saturates(&self, mu: f32, algorithm: Algorithm) -> bool {
        let scale = mu * pow2_scale(self.amax);
        if are_too_many(saturated(self.ranks, scale), self.elements()) {
            return true;
        }
        algorithm.carries_codes() && {
            let sum = algorithm.sum(&Cast::new(self.ranks, scale).codes);
            are_too_many(largest(&sum.codes), self.mean.len() as u64)
        }
    }

    fn elements(&self) -> u64 {
        (self.ranks.len() * self.mean.len()) as u64
    }
}

/// The squares of a sum's errors, and those of the exact sum, each added up.
pub(super) fn errors(ranks: &[Vec<E4M3>], sum: &Sum) -> (f64, f64) {
    // Multiples of 2^-9 below 2^16: exact in f64.
    let mut exact = vec![0.0f64; sum.codes.len()];
    for codes in ranks {
        exact.iter_mut().zip(codes).for_each(|(sum, code)| *sum += code.to_f64());
    }
    let got = sum.codes.iter().map(|code| code.to_f64() / f64::from(sum.rescale));
    let errors = got.zip(&exact).map(|(got, exact)| (got - exact).powi(2)).sum();
    (errors, power(&exact))
}

fn largest(codes: &[E4M3]) -> u64 {
    count(codes.iter(), |code| [E4M3::MAX, E4M3::MIN].contains(code))
}

fn power(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}
