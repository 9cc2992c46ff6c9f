//! What many ranks can and cannot be asked for, and in which words they are refused.

use fp8lm_parallel::Schedule;

use super::{super::*, refusal};

/// Each of these is refused in these words.
fn refuse(cases: &[(&[&str], &str)]) {
    for (sets, message) in cases {
        let told = refusal("", sets);
        assert!(told.ends_with(&format!(": {message}")), "{sets:?}: {told}");
    }
}

fn accept(cases: &[&[&str]]) {
    for sets in cases {
        let sets: Vec<_> = sets.iter().map(|&set| set.to_owned()).collect();
        Config::load("quickstart", None, &sets).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn ranks_share_what_they_can_share_evenly() {
    let cases = [
        (
            &["parallel.data=3"][..],
            "data.batch = 8: parallel.data = 3 ranks share it, so expected a multiple of 3, such as 9",
        ),
        (
            &["parallel.data=16"],
            "data.batch = 8: parallel.data = 16 ranks share it, so expected a multiple of 16, such as 16",
        ),
        (
            &["parallel.data=5", "data.batch=11"],
            "data.batch = 11: parallel.data = 5 ranks share it, so expected a multiple of 5, such as 10",
        ),
        (
            &["parallel.pipeline=3"],
            "model.layers = 4: parallel.pipeline = 3 ranks share it, so expected a multiple of 3, such as 3",
        ),
        (
            &["parallel.tensor=8"],
            "model.heads = 4: parallel.tensor = 8 ranks share it, so expected parallel.tensor = 4, or a multiple of 8 that divides model.width = 256",
        ),
        (
            &["parallel.tensor=3"],
            "model.heads = 4: parallel.tensor = 3 ranks share it, so expected parallel.tensor = 2, or a multiple of 3 that divides model.width = 256",
        ),
        (
            &["parallel.tensor=4", "model.mlp=690"],
            "model.mlp = 690: parallel.tensor = 4 ranks share it, so expected a multiple of 4, such as 692",
        ),
        (
            &["parallel.tensor=4", "model.vocabulary=257"],
            "model.vocabulary = 257: parallel.tensor = 4 ranks share it, so expected a multiple of 4, such as 260",
        ),
    ];
    for (sets, message) in cases {
        let told = refusal("", sets);
        assert!(told.ends_with(message), "{told}");
    }
    let sets = ["parallel.data=4", "parallel.tensor=4", "parallel.pipeline=4"];
    Config::load("quickstart", None, &sets.map(str::to_owned)).unwrap();
}

/// Products of the weight gradient are as many as a rank has tokens: 2 x 64 in all, half of them on each of 2 ranks.
#[test]
fn a_rank_sums_its_own_tokens() {
    let sets = ["recipe.name=deepseek-v3", "recipe.accumulate=deepgemm", "data.batch=2"];
    let sets = sets.into_iter().chain(["model.width=128", "model.mlp=128", "model.context=64"]);
    let mut sets: Vec<_> = sets.map(str::to_owned).collect();
    Config::load("tiny", None, &sets).unwrap();
    sets.push("parallel.data=2".into());
    let message = Config::load("tiny", None, &sets).unwrap_err().to_string();
    assert!(message.ends_with("the weight gradient of blocks.0.qkv sums 64 products"), "{message}");
}

#[test]
fn every_schedule_has_a_name() {
    for schedule in Schedule::ALL {
        let sets = [
            format!("parallel.schedule={schedule}"),
            "parallel.pipeline=2".into(),
            "data.micro_batches=8".into(),
            format!("parallel.chunks={}", 1 + usize::from(schedule == Schedule::Interleaved)),
        ];
        let parallel = Config::load("quickstart", None, &sets).unwrap().parallel;
        assert_eq!(parallel.schedule, schedule);
    }
    refuse(&[(
        &["parallel.schedule=2f2b"],
        "parallel.schedule = \"2f2b\": expected one of gpipe, 1f1b, interleaved, zb-h1, dualpipe, dualpipe-v",
    )]);
}

#[test]
fn stages_share_blocks() {
    refuse(&[
        (
            &["parallel.pipeline=8"],
            "model.layers = 4: schedule 1f1b makes 8 stages of parallel.pipeline = 8 ranks, and each has a block or \
             more, so expected at least 8, or at most parallel.pipeline = 4",
        ),
        (
            &[
                "parallel.schedule=interleaved",
                "parallel.chunks=4096",
                "parallel.pipeline=4096",
                "data.micro_batches=4096",
            ],
            "model.layers = 4: schedule interleaved makes 16777216 stages of parallel.pipeline = 4096 ranks, and each \
             has a block or more, so expected at least 16777216, or at most parallel.pipeline = 1",
        ),
        (
            &["parallel.schedule=dualpipe-v", "parallel.pipeline=3", "data.micro_batches=6"],
            "model.layers = 4: schedule dualpipe-v makes 6 stages of parallel.pipeline = 3 ranks, and each has a \
             block or more, so expected at least 6, or at most parallel.pipeline = 2",
        ),
        (
            &[
                "parallel.schedule=interleaved",
                "parallel.pipeline=2",
                "parallel.chunks=2",
                "model.layers=6",
                "data.micro_batches=2",
            ],
            "model.layers = 6: schedule interleaved makes 4 stages of parallel.pipeline = 2 ranks, and each has as \
             many blocks, so expected a multiple of 4, such as 8",
        ),
        (
            &["parallel.pipeline=2", "model.tied_head=true"],
            "model.tied_head = true: the embedding is on the first and the head on the last of the 2 stages of \
             schedule 1f1b, so expected false, or one stage: parallel.pipeline = 1 under schedule 1f1b",
        ),
    ]);
    accept(&[&["parallel.tensor=2", "model.tied_head=true"]]);
}

#[test]
fn schedules_take_so_many_ranks_chunks_and_micro_batches() {
    refuse(&[
        (
            &["parallel.chunks=2"],
            "parallel.chunks = 2: schedule 1f1b takes 1; `interleaved` alone takes more",
        ),
        (
            &["parallel.schedule=interleaved", "parallel.pipeline=2"],
            "parallel.chunks = 1: schedule interleaved takes at least 2",
        ),
        (
            &["parallel.schedule=interleaved", "parallel.pipeline=2", "parallel.chunks=2"],
            "data.micro_batches = 1: schedule interleaved takes multiples of 2, such as 2",
        ),
        (
            &["parallel.schedule=dualpipe", "parallel.pipeline=3", "data.micro_batches=8"],
            "parallel.pipeline = 3: schedule dualpipe takes multiples of 2, such as 4",
        ),
        (
            &["parallel.schedule=dualpipe", "parallel.pipeline=4", "data.micro_batches=6"],
            "data.micro_batches = 6: schedule dualpipe takes at least 8",
        ),
        (
            &["parallel.schedule=dualpipe", "parallel.pipeline=4", "data.micro_batches=9"],
            "data.micro_batches = 9: schedule dualpipe takes multiples of 2, such as 10",
        ),
    ]);
}

#[test]
fn sums_in_one_order_are_along_a_binary_tree() {
    let deterministic = "parallel.deterministic=true";
    refuse(&[
        (
            &[deterministic, "parallel.data=2"],
            "data.micro_batches = 1: parallel.data = 2 ranks share it, so expected a multiple of 2, such as 2",
        ),
        (
            &[deterministic, "parallel.data=3", "data.micro_batches=6"],
            "parallel.data = 3: parallel.deterministic = true sums along a binary tree of ranks, so expected a power \
             of two, such as 4",
        ),
        (
            &[deterministic, "recipe.pipeline_wire=e4m3"],
            "recipe.pipeline_wire = \"e4m3\": rounds between stages, so that results depend on their number; under \
             parallel.deterministic = true expected \"activations\"",
        ),
        // What is asked of each of two ranks is asked twice of the step.
        (
            &[
                deterministic,
                "parallel.data=2",
                "parallel.pipeline=2",
                "parallel.schedule=dualpipe",
                "data.micro_batches=6",
            ],
            "data.micro_batches = 6: schedule dualpipe takes at least 8",
        ),
        (
            &[
                deterministic,
                "parallel.data=2",
                "parallel.pipeline=2",
                "parallel.schedule=dualpipe",
                "data.micro_batches=10",
            ],
            "data.micro_batches = 10: schedule dualpipe takes multiples of 4, such as 12",
        ),
    ]);
    // A micro-batch is one rank's, so that ranks need not share its sequences.
    accept(&[&[deterministic, "parallel.data=16", "data.micro_batches=16"]]);
}

#[test]
fn tensor_ranks_share_tokens_casts_and_states() {
    refuse(&[
        (
            &["parallel.tensor=4", "parallel.data=8", "model.context=250"],
            "parallel.tensor = 4: under parallel.sequence = true they share the 250 tokens of a micro-batch evenly, so \
             expected a divisor of that, such as 2",
        ),
        (
            &["parallel.tensor=2", "parallel.sequence=false", "recipe.reduce_scatter_wire=e4m3"],
            "recipe.reduce_scatter_wire = \"e4m3\": under parallel.sequence = false parallel.tensor = 2 ranks \
             all-reduce, so expected \"activations\", or parallel.sequence = true",
        ),
        (
            &["parallel.tensor=4", "recipe.second_moment=e4m3:expand"],
            "recipe.second_moment = \"e4m3:expand\": has a scale for every 128 elements in a row, and each of \
             parallel.tensor = 4 ranks has 64 of blocks.0.proj, so expected parallel.tensor = 1, or a format without \
             `:expand`",
        ),
        (
            &["parallel.tensor=4", "recipe.first_moment=e4m3:expand", "model.mlp=768"],
            "recipe.first_moment = \"e4m3:expand\": has a scale for every 128 elements in a row, and each of \
             parallel.tensor = 4 ranks has 64 of blocks.0.proj, so expected parallel.tensor = 2, or a format without \
             `:expand`",
        ),
        (
            &[
                "parallel.tensor=2",
                "recipe={name='deepseek-v3', accumulate='deepgemm'}",
                "model.mlp=384",
            ],
            "recipe.accumulate = \"deepgemm\" takes multiples of 128, and the forward pass of blocks.0.down sums 192 \
             products",
        ),
    ]);
    accept(&[
        &["parallel.tensor=4", "parallel.data=8", "model.context=250", "parallel.sequence=false"],
        &["parallel.tensor=2", "recipe.reduce_scatter_wire=e4m3"],
        &["parallel.tensor=2", "recipe={name='deepseek-v3', columns='e5m6'}"],
        &["parallel.tensor=2", "recipe={name='deepseek-v3', columns='values'}"],
        &["parallel.tensor=2", "recipe.first_moment=e4m3:expand", "model.mlp=768"],
    ]);
}

#[test]
fn a_plan_tells_of_so_many_ranks_at_most() {
    let sets = ["parallel.data=65536", "parallel.tensor=4", "data.batch=65536"];
    refuse(&[(
        &sets,
        "pipeline 1 x data 65536 x tensor 4: 262144 ranks, expected at most 131072 in all",
    )]);
}

#[test]
fn ranks_in_all_are_as_many_data_parallel_ones_as_others_leave() {
    let load = |ranks, sets: &[&str]| {
        let sets: Vec<_> = sets.iter().map(|&set| set.to_owned()).collect();
        Config::load_on("quickstart", None, &sets, Some(ranks))
    };
    let data = |ranks, sets: &[&str]| load(ranks, sets).unwrap().parallel.data;
    assert_eq!(data(4, &[]), 4);
    assert_eq!(data(4, &["parallel.data=2"]), 4);
    assert_eq!(data(8, &["parallel.tensor=2", "parallel.pipeline=2"]), 2);
    let told = load(6, &["parallel.tensor=2", "parallel.pipeline=2"]).unwrap_err().to_string();
    assert_eq!(
        told,
        "--ranks 6: parallel.pipeline = 2 x parallel.tensor = 2 make 4 ranks for each data-parallel one, so expected a \
         multiple of 4, such as 8, or less of these"
    );
}

#[test]
fn fp8_is_summed_by_hops_over_few_ranks_unless_asked_for() {
    let wide = "data.batch=64";
    let ring = "parallel.algorithm=nccl-ring";
    let hops = |algorithm: &str, ranks: usize| {
        format!(
            "parallel.algorithm = {algorithm}: it rounds the sum of e4m3 gradients at every one of {ranks} ranks, and \
             parallel.fp8_ring_ranks = 8: expected round-once, or parallel.fp8_ring_ranks = {ranks} to ask for it"
        )
    };
    refuse(&[
        (&[wide, ring, "parallel.data=16"], &hops("nccl-ring", 16)),
        (
            &[wide, "parallel.algorithm=halving-doubling", "parallel.data=16"],
            &hops("halving-doubling", 16),
        ),
    ]);
    accept(&[
        &[wide, ring, "parallel.data=8"],
        &[wide, "parallel.data=16"],
        &[wide, ring, "parallel.data=16", "parallel.fp8_ring_ranks=16"],
        &[wide, ring, "parallel.data=16", "recipe.name=bf16"],
        &[wide, ring, "parallel.data=16", "parallel.deterministic=true", "data.micro_batches=16"],
    ]);
}
