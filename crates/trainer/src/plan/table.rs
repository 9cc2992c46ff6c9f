//! The memory table as text: planned, and once there is something to measure, measured; of many ranks the least and
//! the most.

use std::collections::BTreeMap;

use fp8lm_device::{Label, Usage};
use fp8lm_scaling::{LINEAR, Labels, REST};

use super::memory::{PlannedRow, allocated};
use crate::text::{align, bytes, grouped, trimmed};

/// The rows, a sum under each group and one of all.
pub(super) fn render(ranks: &[Vec<PlannedRow>], measured: Measured<'_>) -> String {
    let rows = by_label(ranks, measured);
    let linears = Group::of(&LINEAR, &rows);
    let rest = Group::of(&REST, &rows);
    let grouped = |label| LINEAR.all().contains(label) || REST.all().contains(label);
    let others: Vec<_> = rows.iter().filter(|(label, _)| !grouped(label)).collect();
    let others = others.iter().map(|(_, line)| line);
    let of_both = linears.total.parameters.clone().zip(rest.total.parameters.clone());
    let parameters = of_both.map(|(linears, rest)| add(linears, rest));
    let all = [&linears.total, &rest.total].into_iter().chain(others.clone());
    let all = Line::sum("all", parameters, all);

    let figures = Figures { many: ranks.len() > 1, measured: !measured.is_empty() };
    let mut lines = vec![figures.heading()];
    for Group { lines: kinds, total } in [&linears, &rest] {
        lines.extend(kinds.iter().copied().chain([total]).map(|line| line.cells(figures)));
    }
    lines.extend(others.chain([&all]).map(|line| line.cells(figures)));
    align(&lines)
}

/// What is allocated, rank by rank; empty before there is anything.
pub(super) type Measured<'a> = &'a [BTreeMap<Label, Usage>];

struct Group<'a> {
    lines: Vec<&'a Line>,
    total: Line,
}

struct Line {
    name: String,
    /// Rank by rank, as all that follows.
    parameters: Option<Vec<u64>>,
    planned: Option<Vec<u64>>,
    measured: Option<Vec<u64>>,
}

/// Which figures a line has.
#[derive(Clone, Copy)]
struct Figures {
    many: bool,
    measured: bool,
}

/// The planned rows in their order, and behind them what is allocated without a plan.
fn by_label(ranks: &[Vec<PlannedRow>], measured: Measured<'_>) -> Vec<(Label, Line)> {
    let planned = ranks.first().into_iter().flatten().enumerate();
    let mut lines: Vec<_> = planned
        .map(|(index, row)| {
            let planned = ranks.iter().map(|rows| rows[index].bytes).collect();
            let parameters = ranks.iter().map(|rows| rows[index].parameters).collect();
            (row.label, Line::new(row.label, parameters, planned, measured))
        })
        .collect();
    for label in measured.iter().flat_map(BTreeMap::keys) {
        if lines.iter().all(|(known, _)| known != label) {
            lines.push((*label, Line::new(*label, None, None, measured)));
        }
    }
    lines
}

impl<'a> Group<'a> {
    fn of(labels: &Labels, rows: &'a [(Label, Line)]) -> Self {
        let rows = rows.iter().filter(|(label, _)| labels.all().contains(label));
        let lines: Vec<_> = rows.map(|(_, line)| line).collect();
        let parameters = lines.first().and_then(|line| line.parameters.clone());
        let (group, _) = labels.master.0.split_once(':').unwrap_or((labels.master.0, ""));
        Self { total: Line::sum(group, parameters, lines.iter().copied()), lines }
    }
}

impl Line {
    fn new(
        label: Label,
        parameters: Option<Vec<u64>>,
        planned: Option<Vec<u64>>,
        measured: Measured<'_>,
    ) -> Self {
        let allocated = measured.iter().map(|usage| allocated(label, usage)).collect();
        let measured = (!measured.is_empty()).then_some(allocated);
        Self { name: label.to_string(), parameters, planned, measured }
    }

    /// Rank by rank, for the largest of sums is not the sum of the largest.
    fn sum<'a>(
        name: &str,
        parameters: Option<Vec<u64>>,
        lines: impl Iterator<Item = &'a Self> + Clone,
    ) -> Self {
        let planned = lines.clone().filter_map(|line| line.planned.clone()).reduce(add);
        let measured = lines.filter_map(|line| line.measured.clone()).reduce(add);
        Self { name: name.to_owned(), parameters, planned, measured }
    }

    fn cells(&self, figures: Figures) -> Vec<String> {
        let planned = self.planned.as_deref();
        let ratio = planned.zip(self.parameters.as_deref());
        let ratio = ratio.map(|(bytes, count)| mean(bytes) / mean(count));
        let mut cells = vec![self.name.clone(), ratio.map_or_else(|| NONE.to_owned(), trimmed)];
        cells.extend(figures.of(planned, |_, planned| bytes(planned)));
        if figures.measured {
            let planned = |rank| planned.and_then(|bytes| bytes.get(rank)).copied();
            let measured = self.measured.as_deref();
            cells.extend(figures.of(measured, |rank, found| against(found, planned(rank))));
        }
        cells
    }
}

impl Figures {
    fn heading(self) -> Vec<String> {
        let heading: &[_] = match (self.many, self.measured) {
            (false, false) => &["memory", PER_PARAMETER, "planned bytes"],
            (false, true) => &["memory", PER_PARAMETER, "planned bytes", "allocated bytes"],
            (true, false) => {
                &["memory of a rank", PER_PARAMETER, "planned, least", "planned, most"]
            }
            (true, true) => &[
                "memory of a rank",
                PER_PARAMETER,
                "planned, least",
                "planned, most",
                "allocated, least",
                "allocated, most",
            ],
        };
        heading.iter().map(|&cell| cell.to_owned()).collect()
    }

    /// The cell of the only rank, or those of the ranks with the least and the most.
    fn of(self, bytes: Option<&[u64]>, cell: impl Fn(usize, u64) -> String) -> Vec<String> {
        let Some(bytes) = bytes else { return vec![NONE.into(); 1 + usize::from(self.many)] };
        let cell =
            |rank: Option<usize>| rank.map_or_else(|| NONE.into(), |rank| cell(rank, bytes[rank]));
        let least = (0..bytes.len()).min_by_key(|&rank| bytes[rank]);
        let most = (0..bytes.len()).max_by_key(|&rank| bytes[rank]);
        if self.many { vec![cell(least), cell(most)] } else { vec![cell(least)] }
    }
}

fn add(mut sum: Vec<u64>, bytes: Vec<u64>) -> Vec<u64> {
    sum.iter_mut().zip(bytes).for_each(|(sum, bytes)| *sum += bytes);
    sum
}

fn mean(ranks: &[u64]) -> f64 {
    ranks.iter().map(|&rank| rank as f64).sum::<f64>() / ranks.len() as f64
}

fn against(measured: u64, planned: Option<u64>) -> String {
    let sign = if Some(measured) < planned { '-' } else { '+' };
    match planned.map_or(0, |planned| measured.abs_diff(planned)) {
        0 => bytes(measured),
        off => format!("{} ({sign}{})", bytes(measured), grouped(off)),
    }
}

const PER_PARAMETER: &str = "bytes a parameter";
const NONE: &str = "-";
