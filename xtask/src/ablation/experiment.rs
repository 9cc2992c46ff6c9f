//! What is trained: the rows of the table, and what an experiment changes in all of them.

/// One way to keep the states of the optimizer.
pub(super) struct Row {
    /// Its number in the paper, if it stands there.
    pub(super) id: &'static str,
    /// In names of folders.
    pub(super) name: &'static str,
    /// In tables and legends.
    pub(super) label: &'static str,
    pub(super) sets: &'static [&'static str],
    /// What the paper says of it.
    pub(super) paper: &'static str,
}

/// What is ablated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Experiment {
    /// Every row, under the optimizer of the quickstart
    Grid,
    /// The second moment in FP8 at half the learning rate
    HalfRate,
    /// The same at four times the learning rate
    HighRate,
}

impl Experiment {
    /// In the marks of the page, and in the names of runs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::HalfRate => "half-rate",
            Self::HighRate => "high-rate",
        }
    }

    /// What is set in all rows.
    pub(super) fn sets(self) -> &'static [&'static str] {
        match self {
            Self::Grid => &[],
            Self::HalfRate => &["optimizer.learning_rate=5e-4"],
            Self::HighRate => &["optimizer.learning_rate=4e-3"],
        }
    }

    pub(super) fn rows(self) -> Vec<&'static Row> {
        let takes = |row: &&Row| self == Self::Grid || [BASELINE, FP8_V].contains(&row.name);
        ROWS.iter().filter(takes).collect()
    }

    /// The name of the row's runs.
    pub(super) fn run_name(self, row: &Row) -> String {
        match self {
            Self::Grid => row.name.into(),
            _ => format!("{}-{}", row.name, self.name()),
        }
    }
}

/// The row that the others are held against.
pub(super) const BASELINE: &str = "bf16";

/// The row that diverges in the paper.
const FP8_V: &str = "fp8-v";

/// Those of the paper differ from `fp8lm-2` by one state each, and so do ours.
const ROWS: &[Row] = &[
    Row { id: "0", name: "fp32", label: "fp32", sets: &["recipe.name=fp32"], paper: "baseline" },
    Row {
        id: "1",
        name: BASELINE,
        label: BASELINE,
        sets: &["recipe.name=bf16"],
        paper: "baseline",
    },
    Row { id: "2a", name: "fp16-master", label: "FP16 master", sets: &[FP8LM], paper: "equal" },
    Row {
        id: "2b",
        name: "bf16-master",
        label: "BF16 master",
        sets: &[FP8LM, "recipe.master=bf16"],
        paper: "slightly worse",
    },
    Row {
        id: "3",
        name: "fp8-master",
        label: "E4M3 master",
        sets: &[FP8LM, "recipe.master=e4m3:pow2"],
        paper: "worse",
    },
    Row {
        id: "4",
        name: FP8_V,
        label: "E4M3 v",
        sets: &[FP8LM, "recipe.second_moment=e4m3:pow2"],
        paper: "diverges",
    },
    Row {
        id: "-",
        name: "fp8-v-expand",
        label: "E4M3 v, expanded",
        sets: &[FP8LM, "recipe.second_moment=e4m3:expand"],
        paper: "-",
    },
    Row {
        id: "-",
        name: "fp8-v-stochastic",
        label: "E4M3 v, stochastic",
        sets: &[FP8LM, "recipe.second_moment=e4m3:pow2", "recipe.stochastic=[\"second_moment\"]"],
        paper: "-",
    },
    Row {
        id: "-",
        name: "fp8-v-e5m2",
        label: "E5M2 v",
        sets: &[FP8LM, "recipe.second_moment=e5m2:pow2"],
        paper: "-",
    },
    Row {
        id: "-",
        name: "fp8-v-unscaled",
        label: "E4M3 v, no scale",
        sets: &[FP8LM, "recipe.second_moment=e4m3"],
        paper: "-",
    },
];

/// Row 2a: FP8 products and gradients, master in FP16, m in E4M3 and v in FP16, each with a scale.
const FP8LM: &str = "recipe.name=fp8lm-2";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn no_two_rows_share_their_runs_and_one_is_the_baseline() {
        let mut runs = BTreeSet::new();
        for experiment in Experiment::value_variants() {
            let rows = experiment.rows();
            assert!(rows.iter().any(|row| row.name == BASELINE), "{experiment:?}");
            for row in rows {
                let name = experiment.run_name(row);
                assert!(runs.insert(name.clone()), "{name}");
            }
        }
    }
}
