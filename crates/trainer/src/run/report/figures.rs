//! Which figures a report has, and what they draw.

use super::axis::Scale;
use super::plot::{Line, Plot, Point, Weight};
use super::{Report, Series};
use crate::run::metrics::{FormatStatistics, Record, Spread, TensorKind, Wire};

/// What concerns all runs.
pub(super) fn training(report: &Report) -> Vec<Plot> {
    let grad_norm = |record: &Record| Some(record.grad_norm);
    let learning_rate = |record: &Record| Some(record.learning_rate);
    vec![
        plot("Loss", "nats a token", Scale::Linear, losses(&report.series)),
        plot("Loss above the baseline", "per cent", Scale::Linear, excess(report)),
        plot("Gradient norm", "before clipping", Scale::Log, of_all(report, grad_norm)),
        plot("Learning rate", "", Scale::Linear, of_all(report, learning_rate)),
    ]
}

/// What concerns one run's tensors in low precision.
pub(super) fn formats(series: &Series) -> Vec<Plot> {
    let scale = |statistics: &FormatStatistics| statistics.log2_scale;
    let saturation = |statistics: &FormatStatistics| statistics.saturation_rate.map(exactly);
    let underflow = |statistics: &FormatStatistics| statistics.underflow_rate.map(exactly);
    let (range, fraction) = ("log2 of smallest, median and largest", "fraction of elements");
    vec![
        plot("Scales", range, Scale::Linear, by_kind(series, scale)),
        plot("Saturation", fraction, Scale::Log, by_kind(series, saturation)),
        plot("Underflow", fraction, Scale::Log, by_kind(series, underflow)),
        plot("Auto-scaling factor μ", "smallest, mean and largest", Scale::Log, vec![mu(series)]),
    ]
}

/// What ranks sent one another.
pub(super) fn wire(report: &Report) -> Vec<Plot> {
    let lines = report.series.iter().enumerate().flat_map(|(colour, series)| {
        let mib = |wire: &Wire, bytes| Some(exactly(wire.of_a_rank(bytes) / f64::from(1 << 20)));
        let line = |name, weight, bytes: fn(&Wire) -> u64| {
            let sent =
                |record: &Record| record.wire.as_ref().and_then(|wire| mib(wire, bytes(wire)));
            Line { name, colour, weight, points: points(&series.records, sent) }
        };
        let as_bf16 = format!("{} as bf16", series.name);
        [
            line(series.name.clone(), Weight::Plain, Wire::bytes),
            line(as_bf16, Weight::Faint, |wire| wire.bf16),
        ]
    });
    let lines = lines.filter(|line| !line.points.is_empty()).collect();
    vec![plot("Sent", "MiB a rank and step, beside those of bf16", Scale::Linear, lines)]
}

pub(super) fn plot(
    title: &'static str,
    caption: &'static str,
    scale: Scale,
    lines: Vec<Line>,
) -> Plot {
    Plot { title, caption, scale, lines }
}

/// Validation and training loss of every run.
fn losses(series: &[Series]) -> Vec<Line> {
    let lines = series.iter().enumerate().flat_map(|(colour, series)| {
        let name = |split| format!("{} {split}", series.name);
        let train = points(&series.records, |record| Some(exactly(record.loss)));
        let validation = points(&series.records, |record| record.validation_loss.map(exactly));
        [
            Line { name: name("validation"), colour, weight: Weight::Marked, points: validation },
            Line { name: name("train"), colour, weight: Weight::Faint, points: train },
        ]
    });
    lines.filter(|line| !line.points.is_empty()).collect()
}

/// By how much the losses of each run exceed the baseline's at the same step.
fn excess(report: &Report) -> Vec<Line> {
    let Some(baseline) = report.baseline.and_then(|index| report.series.get(index)) else {
        return Vec::new();
    };
    let mut lines = losses(&report.series);
    let base = losses(std::slice::from_ref(baseline));
    for line in &mut lines {
        let same = base.iter().find(|base| base.weight == line.weight);
        let base = same.map_or(&[][..], |base| &base.points);
        line.points = line.points.iter().filter_map(|point| ratio(point, base)).collect();
    }
    lines.retain(|line| !base.iter().any(|base| base.name == line.name) && !line.points.is_empty());
    lines
}

/// The point in per cent above the one of `base`, which is in order of steps, at the same step.
fn ratio(point: &Point, base: &[Point]) -> Option<Point> {
    let at = base.binary_search_by_key(&point.step, |base| base.step).ok()?;
    let ratio = point.value.middle / base[at].value.middle;
    Some(Point { value: exactly(100.0 * (ratio - 1.0)), ..*point })
}

/// One line a run.
fn of_all(report: &Report, value: impl Fn(&Record) -> Option<f64>) -> Vec<Line> {
    let line = |(colour, series): (usize, &Series)| Line {
        name: series.name.clone(),
        colour,
        weight: Weight::Plain,
        points: points(&series.records, |record| value(record).map(exactly)),
    };
    report.series.iter().enumerate().map(line).collect()
}

/// One line a kind of tensor that has the figure.
fn by_kind(series: &Series, value: impl Fn(&FormatStatistics) -> Option<Spread>) -> Vec<Line> {
    let line = |kind: TensorKind| Line {
        name: kind.label().to_owned(),
        colour: kind as usize,
        weight: Weight::Plain,
        points: points(&series.records, |record| record.formats.get(&kind).and_then(&value)),
    };
    let lines = TensorKind::ALL.into_iter().map(line);
    lines.filter(|line| !line.points.is_empty()).collect()
}

fn mu(series: &Series) -> Line {
    let points = points(&series.records, |record| record.mu);
    Line { name: "μ".to_owned(), colour: 0, weight: Weight::Plain, points }
}

pub(super) fn points(records: &[Record], value: impl Fn(&Record) -> Option<Spread>) -> Vec<Point> {
    let point = |record: &Record| Some(Point { step: record.step, value: value(record)? });
    records.iter().filter_map(point).collect()
}

pub(super) fn exactly(value: f64) -> Spread {
    Spread { min: value, middle: value, max: value }
}
