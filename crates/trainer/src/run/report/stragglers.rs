//! Whom the ranks of a run waited for: over steps, and by rank and phase.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    Escaped, Report, Series,
    axis::Scale,
    figures::{exactly, plot, points},
    plot::{Line, Plot, Weight},
    tables::{row, table},
};
use crate::run::metrics::{Phase, Straggler};

/// How far the slowest rank was behind, beside the longest wait.
pub(super) fn figures(report: &Report) -> Vec<Plot> {
    let lines = report.series.iter().enumerate().flat_map(|(colour, series)| {
        let line = |name, weight, of: fn(&Straggler) -> f64| {
            let told = points(&series.records, |record| {
                record.timing.straggler.as_ref().map(|straggler| exactly(of(straggler)))
            });
            Line { name, colour, weight, points: told }
        };
        let behind = |straggler: &Straggler| straggler.seconds - straggler.median;
        let waited = format!("{} longest wait", series.name);
        [
            line(series.name.clone(), Weight::Plain, behind),
            line(waited, Weight::Faint, |straggler| straggler.waited),
        ]
    });
    let lines = lines.filter(|line| !line.points.is_empty()).collect();
    vec![plot("Slowest rank", "seconds behind the median of its phase", Scale::Linear, lines)]
}

/// A row a rank and phase, those that were slowest most often; nothing of a run on one rank.
pub(super) fn told(series: &Series) -> String {
    let mut by_place = BTreeMap::<(u64, Phase), Vec<&Straggler>>::new();
    let told = series.records.iter().filter_map(|record| record.timing.straggler.as_ref());
    for straggler in told {
        by_place.entry((straggler.rank, straggler.phase)).or_default().push(straggler);
    }
    if by_place.is_empty() {
        return String::new();
    }
    let steps: usize = by_place.values().map(Vec::len).sum();
    let mut places: Vec<_> = by_place.into_iter().collect();
    places.sort_by_key(|(_, told)| Reverse(told.len()));
    let rows = places.iter().take(MOST).map(|(place, told)| row("td", &cells(*place, told)));
    let (name, table) = (Escaped(&series.name), table(&HEAD, rows.collect()));
    format!(
        "<figure>\n<figcaption><b>{name}</b> slowest in {steps} steps</figcaption>\n{table}</figure>\n"
    )
}

fn cells((rank, phase): (u64, Phase), told: &[&Straggler]) -> [String; 5] {
    let mean = |of: fn(&Straggler) -> f64| {
        let sum: f64 = told.iter().map(|straggler| of(straggler)).sum();
        format!("{:.4}", sum / told.len() as f64)
    };
    let [seconds, median] =
        [mean(|straggler| straggler.seconds), mean(|straggler| straggler.median)];
    [rank.to_string(), phase.label().to_owned(), told.len().to_string(), seconds, median]
}

const HEAD: [&str; 5] = ["rank", "phase", "steps", "its seconds, mean", "median of ranks, mean"];
/// The most rows.
const MOST: usize = 8;
