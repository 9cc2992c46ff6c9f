//! The tables as a picture.

use plotters::prelude::*;

use super::{
    Outcome,
    chart::{Axis, Chart, Line, Scale},
    head_room::Mode,
    measured::Measured,
    reduction::Algorithm,
    study::{Moment, RANKS, STUDIED, Study},
};

/// Above, the SNR over ranks, a panel for each algorithm; below, underflow, the error of the sum alone, and mu.
pub(super) fn draw(path: &str, study: &Study, moments: &[Moment]) -> Outcome<()> {
    let picture = SVGBackend::new(path, (1020, 640)).into_drawing_area();
    picture.fill(&WHITE)?;
    let mut charts: Vec<Chart> = STUDIED.map(|algorithm| snr(study, algorithm)).into();
    charts.extend([underflow(study), rounding(study), mu(moments)]);
    for (panel, chart) in picture.split_evenly((2, 3)).iter().zip(&charts) {
        chart.draw(panel)?;
    }
    picture.present()?;
    Ok(())
}

fn snr(study: &Study, algorithm: Algorithm) -> Chart {
    Chart {
        caption: algorithm.name().to_owned(),
        x: ranks(),
        y: Axis { name: "SNR of the mean, dB", range: 0.0..35.0, scale: Scale::Linear },
        lines: Mode::ALL.map(|mode| mode_line(study, algorithm, mode, Measured::snr)).into(),
        legend: SeriesLabelPosition::LowerLeft,
    }
}

fn underflow(study: &Study) -> Chart {
    let line = |mode| mode_line(study, Algorithm::NcclRing, mode, Measured::underflow);
    Chart {
        caption: "casts for a ring".into(),
        x: ranks(),
        y: Axis {
            name: "underflow, share of elements",
            range: 1e-5..1e-1,
            scale: Scale::Logarithmic(10.0),
        },
        lines: Mode::ALL.map(line).into(),
        legend: SeriesLabelPosition::UpperLeft,
    }
}

fn rounding(study: &Study) -> Chart {
    let line = |(algorithm, colour): (Algorithm, RGBColor)| {
        let points = RANKS.map(|ranks| (ranks as f64, study.rounding(ranks, algorithm)));
        Line { name: algorithm.name(), style: colour.stroke_width(2), points: points.into() }
    };
    Chart {
        caption: "the sum alone".into(),
        x: ranks(),
        y: Axis { name: "relative RMS error", range: 1e-2..1.0, scale: Scale::Logarithmic(10.0) },
        lines: ALGORITHMS.map(line).into(),
        legend: SeriesLabelPosition::UpperLeft,
    }
}

fn mu(moments: &[Moment]) -> Chart {
    let line = |(name, end, colour): (_, usize, RGBColor)| {
        let points = moments.iter().map(|m| (m.step as f64, f64::from(m.measured.head[end])));
        Line { name, style: colour.stroke_width(2), points: points.collect() }
    };
    let steps = 0.0..(moments.len() - 1) as f64;
    Chart {
        caption: "auto on a ring of 32".into(),
        x: Axis { name: "step", range: steps, scale: Scale::Linear },
        y: Axis { name: "mu", range: 1.0 / 32.0..1.0, scale: Scale::Logarithmic(2.0) },
        lines: MU.map(line).into(),
        legend: SeriesLabelPosition::UpperRight,
    }
}

fn mode_line(
    study: &Study,
    algorithm: Algorithm,
    mode: Mode,
    figure: fn(&Measured) -> f64,
) -> Line {
    let points = RANKS.map(|ranks| {
        let wanted = (ranks, algorithm, mode);
        let pooled = study.pooled(|row| (row.ranks, row.algorithm, row.mode) == wanted);
        (ranks as f64, figure(&pooled))
    });
    Line { name: mode.name(), style: style(mode), points: points.into() }
}

fn ranks() -> Axis {
    let range = RANKS[0] as f64..RANKS[RANKS.len() - 1] as f64;
    Axis { name: "ranks", range, scale: Scale::Logarithmic(2.0) }
}

/// Lines that lie on one another stay visible: the first is the widest.
fn style(mode: Mode) -> ShapeStyle {
    match mode {
        Mode::Pre => RGBColor(86, 180, 233).stroke_width(5),
        Mode::Post => RGBColor(213, 94, 0).stroke_width(3),
        Mode::Auto => BLACK.stroke_width(1),
    }
}

const ALGORITHMS: [(Algorithm, RGBColor); 4] = [
    (Algorithm::NcclRing, RGBColor(213, 94, 0)),
    (Algorithm::NcclTree, RGBColor(0, 114, 178)),
    (Algorithm::HalvingDoubling, RGBColor(0, 158, 115)),
    (Algorithm::RoundOnce, RGBColor(0, 0, 0)),
];

/// Of the 16 gradients.
const MU: [(&str, usize, RGBColor); 2] =
    [("largest", 1, RGBColor(213, 94, 0)), ("smallest", 0, RGBColor(0, 114, 178))];
