//! The curves as a picture.

use std::{iter, ops::Range, path::Path};

use anyhow::{Result, anyhow};
use plotters::{coord::Shift, prelude::*};

use super::{Outcome, Yardstick};
use crate::training::{Record, mean};

/// Draws the training losses over steps, and beside them how far validation losses lie above the baseline's.
pub(super) fn draw(
    path: &Path,
    outcomes: &[Outcome],
    baseline: &Outcome,
    yardstick: &Yardstick,
) -> Result<()> {
    let margin = 100.0 * yardstick.margin() / yardstick.mean;
    let picture = SVGBackend::new(path, (960, 440)).into_drawing_area();
    picture.fill(&WHITE).map_err(unwritten)?;
    let (left, right) = picture.split_horizontally(480);
    draw_losses(&left, outcomes).map_err(unwritten)?;
    draw_differences(&right, outcomes, baseline, margin).map_err(unwritten)?;
    picture.present().map_err(unwritten)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// Values over steps.
type Curve = Vec<(f64, f64)>;

fn draw_losses<'a>(area: &Area<'a>, outcomes: &[Outcome]) -> Drawn<'a> {
    let curves: Vec<_> =
        outcomes.iter().map(|outcome| capped(training_losses(outcome), CAP)).collect();
    let (steps, losses) = (steps(&curves), range(&curves, iter::empty()));
    let mut chart = ChartBuilder::on(area)
        .caption(format!("training loss, mean of {WINDOW} steps and all seeds"), FONT)
        .margin(10)
        .margin_right(16)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(steps, losses)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|step| format!("{step}"))
        .x_desc("step")
        .draw()?;
    for ((outcome, curve), colour) in outcomes.iter().zip(curves).zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(curve, colour.stroke_width(WIDTH)))?
            .label(outcome.row.label)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()
}

fn draw_differences<'a>(
    area: &Area<'a>,
    outcomes: &[Outcome],
    baseline: &Outcome,
    margin: f64,
) -> Drawn<'a> {
    let baseline = validation_losses(baseline);
    let over = |outcome| capped(differences(&validation_losses(outcome), &baseline), CAP_PERCENT);
    let curves: Vec<_> = outcomes.iter().map(over).collect();
    let (steps, percents) = (steps(&curves), range(&curves, [-margin, margin].into_iter()));
    let mut chart = ChartBuilder::on(area)
        .caption("validation loss over bf16 in %, grey where it is equal", FONT)
        .margin(10)
        .margin_right(16)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(steps.clone(), percents)?;
    let band = [(steps.start, -margin), (steps.end, margin)];
    chart.draw_series([Rectangle::new(band, BLACK.mix(0.08).filled())])?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|step| format!("{step}"))
        .y_label_formatter(&|percent| format!("{percent:+}"))
        .x_desc("step")
        .draw()?;
    for (curve, colour) in curves.into_iter().zip(COLOURS.iter().cycle()) {
        chart.draw_series(LineSeries::new(curve, colour.stroke_width(WIDTH)).point_size(3))?;
    }
    Ok(())
}

/// The mean over the seeds of the mean over the last steps.
fn training_losses(outcome: &Outcome) -> Curve {
    let smoothed = |records: &Vec<Record>| -> Curve {
        let losses: Vec<_> = records.iter().map(|record| record.loss).collect();
        let ends = records.iter().skip(WINDOW - 1).map(|record| record.step as f64);
        ends.zip(losses.windows(WINDOW).map(mean)).collect()
    };
    mean_curve(&outcome.runs.iter().map(smoothed).collect::<Vec<_>>())
}

fn validation_losses(outcome: &Outcome) -> Curve {
    let measured = |record: &Record| Some((record.step as f64, record.validation_loss?));
    let curve = |records: &Vec<Record>| records.iter().filter_map(measured).collect();
    mean_curve(&outcome.runs.iter().map(curve).collect::<Vec<_>>())
}

/// Where a seed has no finite value, there is no mean.
fn mean_curve(curves: &[Curve]) -> Curve {
    let Some(first) = curves.first() else { return Curve::new() };
    let at = |index: usize| -> Option<f64> {
        let values = curves.iter().map(|curve| curve.get(index).map(|(_, value)| *value));
        let value = mean(&values.collect::<Option<Vec<_>>>()?);
        value.is_finite().then_some(value)
    };
    let points = first.iter().enumerate();
    points.filter_map(|(index, (step, _))| Some((*step, at(index)?))).collect()
}

/// In percent, at the steps that both have.
fn differences(curve: &Curve, baseline: &Curve) -> Curve {
    let of_baseline = |step| baseline.iter().find(|(other, _)| *other == step);
    let over = |&(step, value)| Some((step, 100.0 * (value / of_baseline(step)?.1 - 1.0)));
    curve.iter().filter_map(over).collect()
}

/// What lies above the cap runs along it: a loss that blows up must not press the others flat.
fn capped(mut curve: Curve, cap: f64) -> Curve {
    curve.iter_mut().for_each(|(_, value)| *value = value.min(cap));
    curve
}

fn steps(curves: &[Curve]) -> Range<f64> {
    let last = curves.iter().flatten().map(|(step, _)| *step).fold(1.0, f64::max);
    0.0..last
}

/// Takes in all values, those of the curves and others, with a little room.
fn range(curves: &[Curve], others: impl Iterator<Item = f64>) -> Range<f64> {
    let values: Vec<_> = curves.iter().flatten().map(|(_, value)| *value).chain(others).collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let room = (0.05 * (high - low)).max(0.01);
    low - room..high + room
}

fn unwritten(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the picture cannot be written: {error}")
}

const FONT: (&str, u32) = ("sans-serif", 16);
const WIDTH: u32 = 2;
/// In nats a byte.
const CAP: f64 = 4.0;
/// Of the differences.
const CAP_PERCENT: f64 = 30.0;
/// Steps in the mean of training losses.
const WINDOW: usize = 20;
/// Those of Okabe and Ito, which colour-blind readers can tell apart, and a grey; the baseline is black.
const COLOURS: [RGBColor; 8] = [
    RGBColor(150, 150, 150),
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_means_of_seeds_and_stop_where_one_is_not_finite() {
        let curves = [vec![(1.0, 2.0), (2.0, 3.0)], vec![(1.0, 4.0), (2.0, f64::NAN)]];
        assert_eq!(mean_curve(&curves), [(1.0, 3.0)]);
        assert_eq!(differences(&curves[1][..1].to_vec(), &curves[0]), [(1.0, 100.0)]);
        assert_eq!(range(&curves[..1], [1.0].into_iter()), 2.0 - 1.0 - 0.1..3.0 + 0.1);
    }
}
