//! The metrics of two runs, line by line.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// The number of steps of the first run, and the first figure in which the other differs.
///
/// Members are compared as text: figures are written so that they read back to the same bits, and so differ in their
/// text if they differ at all, which a comparison of numbers would miss for the two zeros.
pub(super) fn compare(a: &Path, b: &Path) -> Result<(usize, Option<String>)> {
    let (a, b) = (read(a)?, read(b)?);
    let common = a.iter().zip(&b).find_map(|(a, b)| difference(a, b));
    let difference = common.or_else(|| match (a.get(b.len()), b.get(a.len())) {
        (Some(step), _) => Some(format!("step {} is missing in the second run", show(step, STEP))),
        (_, Some(step)) => Some(format!("step {} is missing in the first run", show(step, STEP))),
        (None, None) => None,
    });
    Ok((a.len(), difference))
}

type Record = Map<String, Value>;

/// All records, without what depends on the machine.
fn read(run: &Path) -> Result<Vec<Record>> {
    let path = run.join("metrics.jsonl");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut records = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let record = serde_json::from_str(line);
        let place = || format!("{}, line {}: not a record", path.display(), index + 1);
        let mut record: Record = record.with_context(place)?;
        record.remove("timing");
        records.push(record);
    }
    if records.is_empty() {
        bail!("{} has no records", path.display());
    }
    Ok(records)
}

/// The first member in which two records differ, by the order of names; the step before all others.
fn difference(a: &Record, b: &Record) -> Option<String> {
    let names = [STEP].into_iter().chain(a.keys().chain(b.keys()).map(String::as_str));
    let name = names.into_iter().find(|name| show(a, name) != show(b, name))?;
    let step = show(a, STEP);
    Some(format!("step {step}, `{name}`: {} against {}", show(a, name), show(b, name)))
}

fn show(record: &Record, name: &str) -> String {
    record.get(name).map_or_else(|| "nothing".to_owned(), Value::to_string)
}

const STEP: &str = "step";
