//! What plans say of activations on the wire, against what is published and against the formulas.

use fp8lm_device::Label;
use fp8lm_model::{COLUMNS, ROWS, TABLES};
use fp8lm_parallel::{GRADIENTS, PIPELINE};

use super::{super::*, plan};

/// FP8-LM, table 7: GiB of activations that a rank sends of a micro-batch, with BF16 and with FP8. The paper leaves the
/// reduce-scatter in BF16; with that in FP8 it is half.
#[test]
fn the_papers_models_send_the_activations_that_it_publishes() {
    for (preset, bf16, fp8) in [("gpt-13b", 4.69, 3.12), ("gpt-175b", 5.91, 3.94)] {
        let gib = |bytes: u64| bytes as f64 / 2f64.powi(30);
        let volume = |sets: &[&str]| plan(preset, sets).activation_volume();
        let (plain, codes) = (volume(&["recipe.name=bf16"]), volume(&[]));
        assert_eq!((codes.bf16, plain.bf16), (plain.bytes, plain.bytes), "{preset}");
        for (bytes, published) in [(plain.bytes, bf16), (codes.bytes, fp8)] {
            assert!((gib(bytes) - published).abs() < 0.006, "{preset}: {}", gib(bytes));
        }
        let scattered = volume(&["recipe.reduce_scatter_wire=e4m3"]);
        assert_eq!([6 * codes.bytes, 6 * scattered.bytes], [4 * plain.bytes, 3 * plain.bytes]);
    }
}

fn sent(plan: &Plan, label: Label) -> u64 {
    let row = plan.traffic().iter().find(|row| row.label == label);
    row.and_then(|row| row.bytes).unwrap_or(0)
}

/// On two ranks that share every linear.
const SETS: [&str; 3] = ["parallel.tensor=2", "data.batch=4", "data.micro_batches=2"];

#[test]
fn bytes_of_borders_follow_from_the_recipe() {
    // Bits an element of the two column-parallel linears of a block, and of the two row-parallel ones.
    let cases: [(&[&str], u64, u64); 9] = [
        (&["recipe.name=fp32"], 2 * 96, 2 * 64),
        (&["recipe.name=bf16"], 2 * 48, 2 * 32),
        (&["recipe.name=fp8lm-3"], 2 * 32, 2 * 32),
        (&["recipe.name=te", "recipe.reduce_scatter_wire=e4m3"], 2 * 24, 2 * 32),
        (&["recipe={name='deepseek-v3', columns='e5m6'}"], 2 * 36, 2 * 32),
        (&["recipe={name='deepseek-v3', columns='values'}"], 2 * 40, 2 * 32),
        (&["recipe.name=bf16", "parallel.sequence=false"], 2 * 32, 2 * 32),
        // The inputs of qkv and up are gathered again, and the projection's output is summed again.
        (&["recipe.name=fp8lm-3", "run.recompute=full"], 2 * 40, 3 * 16 + 32),
        (&["recipe.name=fp8lm-3", "run.recompute=selective"], 2 * 32, 2 * 32),
    ];
    for (sets, columns, rows) in cases {
        let plan = plan("tiny", &[&SETS, sets].concat());
        let (layers, width) = (plan.model().layers as u64, plan.model().width as u64);
        // Both ranks together send N (t - 1) in a gather, t = 2.
        let elements = plan.tokens_per_step() * width;
        assert_eq!(sent(&plan, COLUMNS), layers * elements * columns / 8, "{sets:?}");
        assert_eq!(sent(&plan, ROWS), layers * elements * rows / 8, "{sets:?}");
    }
}

#[test]
fn tables_and_norms_send_too() {
    for (sets, tables, norms) in [
        (&["recipe.name=bf16"][..], 5 * 2, 2 * 4),
        (&["recipe.name=fp32"], 5 * 4, 2 * 4),
        (&["recipe.name=bf16", "parallel.sequence=false"], 4 * 2, 0),
    ] {
        let plan = plan("tiny", &[&SETS, sets].concat());
        let (width, layers) = (plan.model().width as u64, plan.model().layers as u64);
        let losses = 2 * 12 * plan.tokens_per_step();
        let streams = tables * width * plan.tokens_per_step();
        assert_eq!(sent(&plan, TABLES), streams + losses, "{sets:?}");
        // Two micro-batches, each with the gains of two norms a block and of the last.
        assert_eq!(sent(&plan, GRADIENTS), 2 * norms * (2 * layers + 1) * width, "{sets:?}");
    }
}

#[test]
fn stages_send_what_crosses_their_borders() {
    let cases: [(&[&str], u64, u64); 6] = [
        (&["parallel.pipeline=2"], 1, 2),
        (&["parallel.pipeline=4", "parallel.data=2"], 3, 2),
        (&["parallel.pipeline=2", "parallel.schedule=interleaved", "parallel.chunks=2"], 3, 2),
        (&["parallel.pipeline=4", "parallel.schedule=dualpipe"], 3, 2),
        // Where the last rank turns a micro-batch round, it hands it to itself.
        (&["parallel.pipeline=2", "parallel.schedule=dualpipe-v"], 2, 2),
        (&["parallel.pipeline=2", "recipe.pipeline_wire=e4m3"], 1, 1),
    ];
    for (sets, borders, bytes) in cases {
        let plan = plan("quickstart", &[&["data.micro_batches=8"], sets].concat());
        let elements = plan.tokens_per_step() * 256;
        assert_eq!(sent(&plan, PIPELINE), 2 * borders * elements * bytes, "{sets:?}");
    }
    let shared = ["parallel.pipeline=2", "parallel.tensor=2"];
    let whole = [&shared[..], &["parallel.sequence=false"]].concat();
    let [shared, whole] = [&shared[..], &whole].map(|sets| plan("quickstart", sets));
    let elements = 2048 * 256;
    assert_eq!(sent(&shared, PIPELINE), 2 * elements * 2, "each has its own rows");
    assert_eq!(sent(&whole, PIPELINE), 2 * 2 * elements * 2, "each has all rows");
}

#[test]
fn a_pipeline_idles_as_its_schedule_says() {
    let idle = |sets: &[&str]| {
        let plan =
            plan("quickstart", &[&["data.micro_batches=8", "parallel.pipeline=2"], sets].concat());
        plan.idle()
    };
    // Bubbles (P - 1)(F + B) = 3, half of that, (P - 1)(F + B - 2W) = 1 and (P/2 - 1)(...) = 0, of 8 (F + B) = 24.
    assert_eq!(idle(&[]), 3.0 / 27.0);
    assert_eq!(idle(&["parallel.schedule=interleaved", "parallel.chunks=2"]), 1.5 / 25.5);
    assert_eq!(idle(&["parallel.schedule=zb-h1"]), 1.0 / 25.0);
    assert_eq!(idle(&["parallel.schedule=dualpipe"]), 0.0);
    // Two ranks with two stages each: (2 - 1)(F&B + B - 3W) = 2 of 8 x 6.
    assert_eq!(idle(&["parallel.schedule=dualpipe-v"]), 2.0 / 50.0);
}

/// One micro-batch on one rank; of pipelines as many as the schedule holds, at the stage that keeps most.
#[test]
fn what_is_kept_goes_by_recomputation_and_schedule() {
    let kept = |sets: &[&str]| plan("quickstart", sets).kept_by_place().to_vec();
    let whole = kept(&[]);
    let modes =
        ["none", "selective", "full"].map(|mode| kept(&[&format!("run.recompute={mode}")])[0]);
    assert!(modes[0] == whole[0] && modes.is_sorted_by(|more, less| more > less), "{modes:?}");
    let sets = ["parallel.pipeline=4", "data.micro_batches=8"];
    let places = kept(&sets);
    assert_eq!((places[0], places[1], places.len()), (4 * (places[2] / 2), 3 * (places[2] / 2), 4));
    // Four stages and the tail, which the last one has, once each.
    assert_eq!(3 * (places[2] / 2) + places[3], whole[0]);
    let all_at_once = kept(&[&sets[..], &["parallel.schedule=gpipe"]].concat());
    assert_eq!(all_at_once[0], 8 * (places[2] / 2));
}

#[test]
fn the_summary_tells_of_the_pipeline() {
    let sets = [
        "parallel.pipeline=2",
        "parallel.tensor=2",
        "data.micro_batches=8",
        "parallel.schedule=dualpipe-v",
        "parallel.deterministic=true",
    ];
    let summary = plan("quickstart", &sets).to_string();
    let lines: Vec<_> = summary.lines().skip(3).take(3).collect();
    let expected = [
        "ranks     4: pipeline 2 x data 1 x tensor 2; a micro-batch is 8 sequences each, tensor ranks share its \
         tokens, gradients are summed by round-once along one tree of 8 micro-batches",
        "pipeline  dualpipe-v: 4 stages of 1 block; at most 4 % of a step is idle if backward passes cost two forward \
         passes; a rank holds 5 micro-batches of a stage at most",
        "places    embedding, block 0 and block 3, head | block 1 and block 2",
    ];
    assert_eq!(lines, expected);
}
