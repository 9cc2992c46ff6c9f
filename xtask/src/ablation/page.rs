//! The table, and its place in the page.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::{
    Outcome,
    verdict::{Yardstick, mean_loss},
};

/// A row for each outcome, and the margin beneath.
pub(super) fn table(outcomes: &[Outcome], yardstick: &Yardstick) -> String {
    let seeds = outcomes.first().map_or(0, |outcome| outcome.courses.len());
    let header: String = (1..=seeds).map(|seed| format!(" seed {seed} |")).collect();
    let rows: String = outcomes.iter().map(|outcome| row(outcome, yardstick)).collect();
    let Yardstick { mean, spread } = yardstick;
    format!(
        "| # | states |{header} mean | over bf16 | skipped | paper | here |\n\
         |---|---|{}---|---|---|---|---|\n{rows}\n\
         bf16's seeds lie {spread:.4} apart, {:.2} % of their mean; the margin is {:.4}.\n",
        "---|".repeat(seeds),
        100.0 * spread / mean,
        yardstick.margin(),
    )
}

/// Puts the table between the marks of its name.
pub(super) fn write(path: &Path, name: &str, table: &str) -> Result<()> {
    let page = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let page = replace(&page, name, table).with_context(|| path.display().to_string())?;
    fs::write(path, page).with_context(|| path.display().to_string())
}

fn row(outcome: &Outcome, yardstick: &Yardstick) -> String {
    let Outcome { row, courses, .. } = outcome;
    let losses: String = courses.iter().map(|course| format!(" {:.4} |", course.last)).collect();
    let mean = mean_loss(courses);
    let skipped: u64 = courses.iter().map(|course| course.skipped).sum();
    format!(
        "| {} | {} |{losses} {mean:.4} | {:+.2} % | {skipped} | {} | {} |\n",
        row.id,
        row.label,
        100.0 * (mean / yardstick.mean - 1.0),
        row.paper,
        yardstick.judge(courses).name(),
    )
}

fn replace(page: &str, name: &str, table: &str) -> Result<String> {
    let [start, end] = [format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n")];
    let (before, rest) = page.split_once(&start).with_context(|| format!("no {start}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no {end}"))?;
    Ok(format!("{before}{start}\n{table}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{experiment::Row, verdict::Course},
        *,
    };

    const ROW: Row = Row { id: "4", name: "v", label: "E4M3 v", sets: &[], paper: "diverges" };

    fn outcome(losses: [f64; 2]) -> Outcome {
        let course = |last| Course { start: 5.5, lowest: last, last, is_finite: true, skipped: 2 };
        Outcome {
            row: &ROW,
            folders: Vec::new(),
            runs: Vec::new(),
            courses: losses.map(course).to_vec(),
        }
    }

    #[test]
    fn a_row_has_a_loss_for_each_seed_and_both_outcomes() {
        let yardstick = Yardstick { mean: 2.0, spread: 0.125 };
        let table = table(&[outcome([2.5, 2.25])], &yardstick);
        let row = "| 4 | E4M3 v | 2.5000 | 2.2500 | 2.3750 | +18.75 % | 4 | diverges | worse |\n";
        assert!(table.contains(row), "{table}");
        let columns = |line: &str| line.matches('|').count();
        assert!(table.lines().take(3).all(|line| columns(line) == columns(row)), "{table}");
        assert!(table.contains("lie 0.1250 apart, 6.25 %"), "{table}");
    }

    #[test]
    fn a_table_takes_the_place_of_the_last_one() {
        let page = "a\n<!-- b -->\nold\n<!-- end of b -->\nc\n";
        let once = replace(page, "b", "new\n").unwrap();
        assert_eq!(once, "a\n<!-- b -->\n\nnew\n\n<!-- end of b -->\nc\n");
        assert_eq!(replace(&once, "b", "new\n").unwrap(), once);
        let error = replace(page, "d", "new\n").unwrap_err();
        assert!(error.to_string().contains("<!-- d -->"), "{error}");
    }
}
