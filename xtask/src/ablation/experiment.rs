//! What is trained: the rows of the tables.

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
    /// The paper's rows and repairs of the last, under the optimizer of the quickstart
    Grid,
    /// The second moment in FP8, rounded otherwise or without a scale
    SecondMoment,
}

impl Experiment {
    /// In the marks of the page.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::SecondMoment => "second-moment",
        }
    }

    pub(super) fn rows(self) -> Vec<&'static Row> {
        let pair = ROWS.iter().filter(|row| [BASELINE, FP8_V].contains(&row.name));
        match self {
            Self::Grid => ROWS.iter().collect(),
            Self::SecondMoment => pair.chain(VARIANTS).collect(),
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
        name: "fp8-v-e5m2",
        label: "E5M2 v",
        sets: &[FP8LM, "recipe.second_moment=e5m2:pow2"],
        paper: "-",
    },
];

/// Of row 4.
const VARIANTS: &[Row] = &[
    Row {
        id: "-",
        name: "fp8-v-stochastic",
        label: "E4M3 v, stochastic",
        sets: &[FP8LM, "recipe.second_moment=e4m3:pow2", "recipe.stochastic=[\"second_moment\"]"],
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
    fn each_experiment_has_its_baseline_and_no_two_rows_share_runs() {
        for experiment in Experiment::value_variants() {
            let names: Vec<_> = experiment.rows().iter().map(|row| row.name).collect();
            assert!(names.contains(&BASELINE), "{experiment:?}");
        }
        let rows = || ROWS.iter().chain(VARIANTS);
        let names: BTreeSet<_> = rows().map(|row| row.name).collect();
        let sets: BTreeSet<_> = rows().map(|row| row.sets).collect();
        assert_eq!([names.len(), sets.len()], [rows().count(); 2]);
    }
}
