//! What is compared with what.

use std::fmt;

use crate::training::Contestant;

/// Trainings that are held against a baseline.
pub(super) struct Comparison {
    pub(super) baseline: Contestant<'static>,
    pub(super) contestants: &'static [Contestant<'static>],
    /// Must fail, or the comparison proves nothing.
    pub(super) control: Option<Contestant<'static>>,
    pub(super) tolerance: Tolerance,
}

/// How far from the baseline a loss may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tolerance {
    /// Above it by so much of it.
    Above(f64),
    /// Above or below.
    Around(f64),
}

/// What is compared.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Subject {
    /// The FP8 recipes with bf16
    Recipes,
    /// fp8lm-3 under Hopper's accumulation with fp8lm-3 summed in f32
    Accumulation,
    /// fp8lm-3 on meshes of ranks with fp8lm-3 on one
    Meshes,
    /// Activations and their gradients in FP8 on the wire of tensor 2 x pipeline 2 with BF16 there
    Wire,
}

impl Subject {
    /// What its rows are.
    pub(super) fn of_what(self) -> &'static str {
        match self {
            Self::Recipes | Self::Accumulation => "recipe",
            Self::Meshes => "mesh",
            Self::Wire => "wire",
        }
    }

    pub(super) fn comparison(self) -> Comparison {
        match self {
            Self::Recipes => Comparison {
                baseline: Contestant { name: "bf16", sets: &["recipe.name=bf16"] },
                contestants: &[
                    Contestant { name: "fp8lm-3", sets: &["recipe.name=fp8lm-3"] },
                    Contestant { name: "deepseek-v3", sets: &["recipe.name=deepseek-v3"] },
                ],
                // Weights that cannot take small steps.
                control: Some(Contestant {
                    name: "fp8lm-3, master in E4M3 without a scale",
                    sets: &["recipe.name=fp8lm-3", "recipe.master=e4m3"],
                }),
                tolerance: ONE_PERCENT,
            },
            Self::Accumulation => Comparison {
                baseline: Contestant { name: "fp8lm-3", sets: &["recipe.name=fp8lm-3"] },
                contestants: &[
                    Contestant {
                        name: "fp8lm-3, wgmma",
                        sets: &["recipe.name=fp8lm-3", "recipe.accumulate=wgmma"],
                    },
                    Contestant {
                        name: "fp8lm-3, cublaslt",
                        sets: &["recipe.name=fp8lm-3", "recipe.accumulate=cublaslt"],
                    },
                ],
                control: None,
                tolerance: ONE_PERCENT,
            },
            Self::Meshes => Comparison {
                baseline: Contestant { name: "one rank", sets: &[CALM] },
                contestants: MESHES,
                control: None,
                tolerance: HALF_A_PERCENT,
            },
            Self::Wire => Comparison {
                baseline: Contestant {
                    name: "as they are",
                    sets: &[CALM, TENSOR, PIPELINE, BATCH, MICRO_BATCHES],
                },
                contestants: WIRES,
                control: None,
                tolerance: HALF_A_PERCENT,
            },
        }
    }
}

impl Tolerance {
    /// Whether a loss may be so far above the baseline, as a part of it.
    pub(super) fn allows(self, over: f64) -> bool {
        match self {
            Self::Above(most) => over <= most,
            Self::Around(most) => over.abs() <= most,
        }
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above(most) => write!(f, "{} % above", 100.0 * most),
            Self::Around(most) => write!(f, "{} % above or below", 100.0 * most),
        }
    }
}

const ONE_PERCENT: Tolerance = Tolerance::Above(0.01);
const HALF_A_PERCENT: Tolerance = Tolerance::Around(0.005);

/// All see the same sequences in a step, cut into micro-batches as schedules need them.
const MESHES: &[Contestant<'static>] = &[
    Contestant { name: "data 2", sets: &[CALM, "parallel.data=2"] },
    Contestant { name: "tensor 2, sequence", sets: &[CALM, "parallel.tensor=2"] },
    Contestant {
        name: "pipeline 2",
        sets: &[CALM, "parallel.pipeline=2", "data.batch=2", "data.micro_batches=4"],
    },
    Contestant {
        name: "pipeline 4, dualpipe",
        sets: &[
            CALM,
            "parallel.pipeline=4",
            "parallel.schedule=dualpipe",
            "data.batch=1",
            "data.micro_batches=8",
        ],
    },
    Contestant {
        name: "data 2 x tensor 2 x pipeline 2",
        sets: &[CALM, "parallel.data=2", TENSOR, PIPELINE, BATCH, MICRO_BATCHES],
    },
];

/// On one mesh, each against activations as they are.
const WIRES: &[Contestant<'static>] = &[
    Contestant {
        name: "reduce-scatter in E4M3",
        sets: &[CALM, TENSOR, PIPELINE, BATCH, MICRO_BATCHES, REDUCE_SCATTER],
    },
    Contestant {
        name: "pipeline in E4M3",
        sets: &[CALM, TENSOR, PIPELINE, BATCH, MICRO_BATCHES, SENDS],
    },
    Contestant {
        name: "both in E4M3",
        sets: &[CALM, TENSOR, PIPELINE, BATCH, MICRO_BATCHES, REDUCE_SCATTER, SENDS],
    },
];

/// At the preset's learning rate runs of one and the same quality scatter by a percent, and at this one they do not.
const CALM: &str = "optimizer.learning_rate=3e-4";

const TENSOR: &str = "parallel.tensor=2";
const PIPELINE: &str = "parallel.pipeline=2";
const BATCH: &str = "data.batch=2";
const MICRO_BATCHES: &str = "data.micro_batches=4";
const REDUCE_SCATTER: &str = "recipe.reduce_scatter_wire=e4m3";
const SENDS: &str = "recipe.pipeline_wire=e4m3";
