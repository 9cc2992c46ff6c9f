//! The report's tables: what the runs came to, what memory they took, and what they sent.

use super::{Escaped, MemoryRow, Report, Series};
use crate::{
    run::metrics::{Record, Wire, training_loss, validation_loss},
    text::{grouped, trimmed},
};

/// A row a run: where it ended, and what it cost.
pub(super) fn summary(report: &Report) -> String {
    let baseline = report.baseline.and_then(|index| report.series.get(index));
    let cells = report.series.iter().map(|series| summary_cells(series, baseline));
    table(&SUMMARY, cells.map(|cells| row("td", &cells)).collect())
}

/// A row a kind of tensor, against what was planned; nothing if the memory is unknown.
pub(super) fn memory(series: &Series) -> String {
    if series.memory.is_empty() {
        return String::new();
    }
    let rows: String = series.memory.iter().map(|kind| row("td", &memory_cells(kind))).collect();
    let total = row("th", &total_cells(&series.memory));
    let name = Escaped(&series.name);
    let table = table(&MEMORY, rows + &total);
    let of = match last_wire(series).map_or(1, |wire| wire.ranks) {
        1 => "bytes on the device".to_owned(),
        ranks => format!("bytes on a device, in the mean of {ranks} ranks"),
    };
    format!("<figure>\n<figcaption><b>{name}</b> {of}</figcaption>\n{table}</figure>\n")
}

/// A row a kind and collective, of the last step, against what BF16 would have sent; nothing of a run on one rank.
pub(super) fn wire(series: &Series) -> String {
    let Some(wire) = last_wire(series) else { return String::new() };
    let cells = |kind: &str, collective: &str, bytes: u64| {
        let mean = grouped(wire.of_a_rank(bytes).round() as u64);
        [Escaped(kind).to_string(), Escaped(collective).to_string(), mean, grouped(bytes)]
    };
    let sent = wire.sent.iter();
    let rows: String =
        sent.map(|sent| row("td", &cells(&sent.kind, &sent.collective, sent.bytes))).collect();
    let all = row("th", &cells("all", "", wire.bytes()));
    let bf16 = row("th", &cells("as bf16", &share(wire), wire.bf16));
    let (name, table) = (Escaped(&series.name), table(&WIRE, rows + &all + &bf16));
    format!("<figure>\n<figcaption><b>{name}</b> bytes of a step</figcaption>\n{table}</figure>\n")
}

/// What the last step sent that tells of it.
fn last_wire(series: &Series) -> Option<&Wire> {
    series.records.iter().rev().find_map(|record| record.wire.as_ref())
}

/// What was sent, as a part of what BF16 would have sent.
fn share(wire: &Wire) -> String {
    let share = trimmed(wire.bytes() as f64 / wire.bf16 as f64);
    if wire.bf16 > 0 { format!("{share} of it") } else { String::new() }
}

fn summary_cells(series: &Series, baseline: Option<&Series>) -> Vec<String> {
    let last = series.records.last();
    let of_last = |value: fn(&Record) -> String| last.map_or(NONE.to_owned(), value);
    let figure = |value: Option<f64>| value.map_or(NONE.to_owned(), |value| format!("{value:.4}"));
    let over = |of: fn(&[Record]) -> Option<f64>| {
        Some(of(&series.records)? / baseline.and_then(|baseline| of(&baseline.records))?)
    };
    vec![
        Escaped(&series.name).to_string(),
        of_last(|record| grouped(record.step)),
        of_last(|record| grouped(record.tokens)),
        figure(training_loss(&series.records)),
        figure(over(training_loss)),
        figure(validation_loss(&series.records)),
        figure(over(validation_loss)),
        of_last(|record| grouped(record.skipped)),
        median_speed(series).map_or(NONE.to_owned(), |speed| grouped(speed.round() as u64)),
        bytes_per_parameter(&series.memory).map_or(NONE.to_owned(), trimmed),
        of_last(|record| duration(record.timing.seconds)),
    ]
}

fn memory_cells(row: &MemoryRow) -> Vec<String> {
    vec![
        Escaped(&row.kind).to_string(),
        row.parameters.map_or(NONE.to_owned(), grouped),
        grouped(row.planned),
        allocated(row.bytes, row.planned),
        bytes_per_parameter(std::slice::from_ref(row)).map_or(NONE.to_owned(), trimmed),
    ]
}

fn total_cells(rows: &[MemoryRow]) -> Vec<String> {
    let planned = rows.iter().map(|row| row.planned).sum();
    vec![
        "all".to_owned(),
        String::new(),
        grouped(planned),
        allocated(rows.iter().map(|row| row.bytes).sum(), planned),
        bytes_per_parameter(rows).map_or(NONE.to_owned(), trimmed),
    ]
}

/// The bytes, with what they differ by from the plan.
fn allocated(bytes: u64, planned: u64) -> String {
    let sign = if bytes < planned { '−' } else { '+' };
    match bytes.abs_diff(planned) {
        0 => grouped(bytes),
        off => format!("{} ({sign}{})", grouped(bytes), grouped(off)),
    }
}

fn median_speed(series: &Series) -> Option<f64> {
    let speeds = series.records.iter().map(|record| record.timing.tokens_per_second);
    let mut speeds: Vec<f64> = speeds.collect();
    speeds.sort_by(f64::total_cmp);
    speeds.get(speeds.len() / 2).copied()
}

/// Over the rows that count in it; none if there are none.
fn bytes_per_parameter(rows: &[MemoryRow]) -> Option<f64> {
    let counted = rows.iter().filter_map(|row| Some(row.bytes as f64 / row.parameters? as f64));
    counted.reduce(|a, b| a + b)
}

pub(super) fn table(head: &[&str], rows: String) -> String {
    let head = row("th", head);
    format!(
        "<div class=\"scroll\"><table>\n<thead>{head}</thead>\n<tbody>{rows}</tbody>\n</table></div>\n"
    )
}

pub(super) fn row(tag: &str, cells: &[impl AsRef<str>]) -> String {
    let cells = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", cell.as_ref()));
    format!("<tr>{}</tr>\n", cells.collect::<String>())
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds:.1} s"),
        (0, _) => format!("{minutes} min {rest} s"),
        _ => format!("{hours} h {minutes} min"),
    }
}

const SUMMARY: [&str; 11] = [
    "run",
    "steps",
    "tokens",
    "train loss, mean of last 10",
    "÷ baseline",
    "validation loss",
    "÷ baseline",
    "skipped steps",
    "tokens/s",
    "bytes a parameter",
    "time",
];
const MEMORY: [&str; 5] = ["kind", "parameters", "planned", "allocated", "bytes a parameter"];
const WIRE: [&str; 4] = ["kind", "collective", "of a rank, in the mean", "of all ranks"];
const NONE: &str = "–";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        assert_eq!([4.25, 192.4, 7322.0].map(duration), ["4.2 s", "3 min 12 s", "2 h 2 min"]);
    }
}
