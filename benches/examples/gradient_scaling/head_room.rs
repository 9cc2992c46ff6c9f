//! The head-room in a gradient's scale, and where it comes to rest when it follows saturation.

/// Where head-room comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// 1 over the number of ranks.
    Pre,
    /// None.
    Post,
    /// mu, as it stands once it has settled.
    Auto,
}

impl Mode {
    pub(super) const ALL: [Self; 3] = [Self::Pre, Self::Post, Self::Auto];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Post => "post",
            Self::Auto => "auto",
        }
    }
}

/// mu half way between two halvings, once it has settled. While the gradients stay the same it halves from 1 on until
/// few enough elements saturate, rises, halves again, and goes on so for ever.
///
/// Where it halves again is searched by bisection, as if what saturates under one mu did so under every larger one.
pub(super) fn settled(saturates: impl Fn(f32) -> bool) -> f32 {
    let mut mu = 1.0;
    while mu > BOUNDS[0] && saturates(mu) {
        mu = next(mu, true);
    }
    let rise = std::iter::successors(Some(mu), |mu| Some(next(*mu, false)));
    let rise: Vec<f32> = rise.take_while(|mu| *mu < BOUNDS[1]).collect();
    let top = rise[first(rise.len() - 1, |step| saturates(rise[step]))];
    (0..DOUBLING / 2).fold(next(top, true), |mu, _| next(mu, false))
}

/// mu of the next step.
pub(super) fn next(mu: f32, saturates: bool) -> f32 {
    let next = if saturates { mu / 2.0 } else { mu * f32::from_bits(RISE) };
    next.clamp(BOUNDS[0], BOUNDS[1])
}

/// Whether that many of the elements are too many: more than 1e-5.
pub(super) fn are_too_many(saturated: u64, elements: u64) -> bool {
    saturated * 100_000 > elements
}

/// The first of 1..=last at which the condition holds, or the last, in steps that double and then halve.
fn first(last: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut below, mut at) = (0, DOUBLING.min(last));
    while at < last && !holds(at) {
        (below, at) = (at, (2 * at).min(last));
    }
    while at - below > 1 {
        let middle = below.midpoint(at);
        if holds(middle) { at = middle } else { below = middle }
    }
    at
}

/// Steps that double it.
const DOUBLING: usize = 1000;
/// The f32 nearest to 2^(1/1000).
const RISE: u32 = 0x3F80_16B9;
const BOUNDS: [f32; 2] = [1.0 / 65_536.0, 65_536.0];
