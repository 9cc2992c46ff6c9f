//! All that is measured, by number of ranks.

use rayon::prelude::*;

use super::{
    case::{Case, Likeness},
    head_room::{Mode, next},
    measured::Measured,
    reduction::Algorithm,
    training::{Gradients, Training},
};

/// One gradient under one mode, summed by one algorithm.
pub(super) struct Row {
    pub(super) ranks: usize,
    pub(super) kind: &'static str,
    pub(super) algorithm: Algorithm,
    pub(super) mode: Mode,
    pub(super) measured: Measured,
}

/// Every gradient, in every way.
pub(super) struct Study {
    pub(super) rows: Vec<Row>,
    /// By number of ranks, of every gradient.
    pub(super) likeness: Vec<(usize, Likeness)>,
    /// By number of ranks and algorithm: what summing adds to the error of codes that leave room for any sum.
    rounding: Vec<(usize, Algorithm, f64)>,
}

impl Study {
    pub(super) fn of(gradients: &[Gradients]) -> Self {
        let mut study = Self { rows: Vec::new(), likeness: Vec::new(), rounding: Vec::new() };
        for ranks in RANKS {
            let parts: Vec<_> =
                gradients.par_iter().map(|gradient| Self::part(gradient, ranks)).collect();
            for part in parts {
                study.rows.extend(part.rows);
                study.likeness.extend(part.likeness);
                study.rounding.extend(part.rounding);
            }
        }
        study
    }

    fn part(gradient: &Gradients, ranks: usize) -> Self {
        let case = Case::new(&gradient.ranks[..ranks]);
        let row = |(algorithm, mode)| {
            let measured = case.measure(case.head(mode, algorithm), algorithm);
            Row { ranks, kind: gradient.kind, algorithm, mode, measured }
        };
        let ways =
            STUDIED.into_iter().flat_map(|algorithm| Mode::ALL.map(|mode| (algorithm, mode)));
        let pre = case.head(Mode::Pre, Algorithm::RoundOnce);
        let rounding = |algorithm| (ranks, algorithm, case.rounding(pre, algorithm));
        Self {
            rows: ways.map(row).collect(),
            likeness: vec![(ranks, case.likeness())],
            rounding: Algorithm::ALL.map(rounding).into(),
        }
    }

    /// All gradients that match, together.
    pub(super) fn pooled(&self, matches: impl Fn(&Row) -> bool) -> Measured {
        let rows = self.rows.iter().filter(|row| matches(row));
        rows.fold(Measured::default(), |sum, row| sum.and(&row.measured))
    }

    /// What summing adds to the error, root mean square over gradients.
    pub(super) fn rounding(&self, ranks: usize, algorithm: Algorithm) -> f64 {
        let rows = || self.rounding.iter().filter(|row| (row.0, row.1) == (ranks, algorithm));
        let squares: f64 = rows().map(|row| row.2.powi(2)).sum();
        (squares / rows().count() as f64).sqrt()
    }
}

/// One step of a run whose head-room follows saturation.
pub(super) struct Moment {
    pub(super) step: u64,
    /// All gradients together, mu their head-room.
    pub(super) measured: Measured,
    /// How many of them halve it.
    pub(super) halved: usize,
}

/// Lets mu follow `algorithm`'s saturation from 1 on, through steps of the model's training.
pub(super) fn follow(training: &mut Training, algorithm: Algorithm) -> super::Outcome<Vec<Moment>> {
    let mut moments = Vec::new();
    let mut mu: Vec<f32> = Vec::new();
    for step in 0..FOLLOWED_STEPS {
        let gradients = training.gradients(FOLLOWED_RANKS)?;
        mu.resize(gradients.len(), 1.0);
        let measured: Vec<Measured> = gradients
            .par_iter()
            .zip(&mu)
            .map(|(gradient, mu)| Case::new(&gradient.ranks).measure(*mu, algorithm))
            .collect();
        let saturates: Vec<bool> =
            measured.iter().map(|of_one| of_one.saturates(algorithm)).collect();
        moments.push(Moment {
            step,
            measured: measured.iter().fold(Measured::default(), |sum, of_one| sum.and(of_one)),
            halved: saturates.iter().filter(|saturates| **saturates).count(),
        });
        mu.iter_mut().zip(&saturates).for_each(|(mu, saturates)| *mu = next(*mu, *saturates));
        training.step()?;
    }
    Ok(moments)
}

pub(super) const RANKS: [usize; 4] = [2, 8, 32, 128];
/// The algorithms that are studied in every mode.
pub(super) const STUDIED: [Algorithm; 3] =
    [Algorithm::RoundOnce, Algorithm::NcclRing, Algorithm::NcclTree];
pub(super) const FOLLOWED_RANKS: usize = 32;
const FOLLOWED_STEPS: u64 = 16;
