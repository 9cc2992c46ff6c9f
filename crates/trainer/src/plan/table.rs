//! The memory table as text: planned, and once there is something to measure, measured.

use std::collections::BTreeMap;

use fp8lm_device::{Label, Usage};
use fp8lm_scaling::{LINEAR, Labels, REST};

use super::memory::PlannedRow;
use crate::text::{align, bytes, grouped, trimmed};

/// The rows, a sum under each group and one of all.
pub(super) fn render(rows: &[PlannedRow], measured: Measured<'_>) -> String {
    let linears = Group::of(&LINEAR, rows, measured);
    let rest = Group::of(&REST, rows, measured);
    let others: Vec<_> = others(rows, measured).collect();
    let parameters = linears.total.parameters.zip(rest.total.parameters).map(|(a, b)| a + b);
    let all = [&linears.total, &rest.total].into_iter().chain(&others);
    let all = Line::sum("all", parameters, all);

    let mut lines: Vec<Cells> = vec![HEAD.map(str::to_owned)];
    for Group { lines: kinds, total } in [&linears, &rest] {
        lines.extend(kinds.iter().chain([total]).map(Line::cells));
    }
    lines.extend(others.iter().chain([&all]).map(Line::cells));
    let columns = if measured.is_some() { 4 } else { 3 };
    let shown: Vec<_> = lines.iter().map(|cells| &cells[..columns]).collect();
    align(&shown)
}

type Cells = [String; 4];
type Measured<'a> = Option<&'a BTreeMap<Label, Usage>>;

struct Group {
    lines: Vec<Line>,
    total: Line,
}

struct Line {
    name: String,
    parameters: Option<u64>,
    planned: Option<u64>,
    measured: Option<u64>,
}

impl Group {
    fn of(labels: &Labels, rows: &[PlannedRow], measured: Measured<'_>) -> Self {
        let rows = rows.iter().filter(|row| labels.all().contains(&row.label));
        let lines: Vec<_> = rows.map(|row| Line::new(row, measured)).collect();
        let parameters = lines.first().and_then(|line| line.parameters);
        let (group, _) = labels.master.0.split_once(':').unwrap_or((labels.master.0, ""));
        Self { total: Line::sum(group, parameters, &lines), lines }
    }
}

impl Line {
    fn new(row: &PlannedRow, measured: Measured<'_>) -> Self {
        Self {
            name: row.label.to_string(),
            parameters: row.parameters,
            planned: row.bytes,
            measured: measured.map(|usage| row.allocated(usage)),
        }
    }

    fn sum<'a>(
        name: &str,
        parameters: Option<u64>,
        lines: impl IntoIterator<Item = &'a Line> + Clone,
    ) -> Self {
        let sum = |part: fn(&Line) -> Option<u64>| {
            lines.clone().into_iter().filter_map(part).reduce(|a, b| a + b)
        };
        let (planned, measured) = (sum(|line| line.planned), sum(|line| line.measured));
        Self { name: name.to_owned(), parameters, planned, measured }
    }

    fn cells(&self) -> Cells {
        let Self { name, parameters, planned, measured } = self;
        let ratio = planned.zip(*parameters).map(|(bytes, count)| bytes as f64 / count as f64);
        let none = || NONE.to_owned();
        [
            name.clone(),
            ratio.map_or_else(none, trimmed),
            planned.map_or_else(none, bytes),
            measured.map_or_else(none, |found| against(found, *planned)),
        ]
    }
}

/// Rows of neither group, and labels without a row.
fn others(rows: &[PlannedRow], measured: Measured<'_>) -> impl Iterator<Item = Line> {
    let grouped = |label| LINEAR.all().contains(label) || REST.all().contains(label);
    let known = rows.iter().filter(move |row| !grouped(&row.label));
    let labels = measured.into_iter().flat_map(BTreeMap::keys);
    let unknown = labels.filter(|label| rows.iter().all(|row| row.label != **label));
    let unplanned = |label: &Label| PlannedRow { label: *label, bytes: None, parameters: None };
    let all = known.cloned().chain(unknown.map(unplanned));
    all.map(move |row| Line::new(&row, measured))
}

fn against(measured: u64, planned: Option<u64>) -> String {
    let sign = if Some(measured) < planned { '-' } else { '+' };
    match planned.map_or(0, |planned| measured.abs_diff(planned)) {
        0 => bytes(measured),
        off => format!("{} ({sign}{})", bytes(measured), grouped(off)),
    }
}

const HEAD: [&str; 4] = ["memory", "bytes a parameter", "planned bytes", "allocated bytes"];
const NONE: &str = "-";
