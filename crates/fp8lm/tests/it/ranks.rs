//! Training on many ranks: the same bits again and again, whatever shares the work, and the loss of one rank.

use std::{fmt::Display, time::Duration};

use fp8lm_device::Label;
use fp8lm_parallel::SCALARS;
use fp8lm_sim::{Emulator, Options, Rank, Streams, World, WorldOptions};
use fp8lm_trainer::{Config, Place, Plan, Trainer};
use tempfile::tempdir;

use crate::program::{assert_same_run, fail, metrics, succeed, train as train_by_program};

/// Losses step by step, and the first rank's part of a checkpoint.
type Trace = (Vec<f64>, Vec<(String, Vec<u8>)>);

#[test]
fn threads_and_adversarial_streams_change_no_bit() {
    let sets = ["parallel.data=4", "data.micro_batches=2"];
    let reference = train(&sets, 3, 1, Streams::InOrder);
    for (threads, streams) in [
        (2, Streams::InOrder),
        (1, Streams::Adversarial { seed: 1 }),
        (2, Streams::Adversarial { seed: 2 }),
        (2, Streams::Adversarial { seed: 3 }),
    ] {
        let about = format!("{threads} threads, {streams:?}");
        assert_same(&about, &train(&sets, 3, threads, streams), &reference);
    }
}

#[test]
fn the_program_gives_the_same_bits_again_on_any_streams() {
    let folder = tempdir().unwrap();
    let run = |name: &str, args: &[&str]| {
        let path = folder.path().join(name);
        succeed(train_by_program(&path).args(["--quiet", "--ranks", "4"]).args(args));
        path
    };
    let reference = run("reference", &["--set", "run.threads=1"]);
    assert_same_run(&reference, &run("again", &["--set", "run.threads=2"]), 20);
    assert_same_run(&reference, &run("adversarial", &["--adversarial", "7"]), 20);
}

#[test]
fn who_owns_what_changes_no_bit() {
    let sets = |zero| ["parallel.data=4".to_owned(), format!("parallel.zero={zero}")];
    let losses = |zero| {
        let sets = sets(zero);
        train(&sets, 3, 2, Streams::InOrder).0
    };
    let reference = losses(0);
    assert_eq!(losses(1), reference);
    assert_eq!(losses(2), reference);
    let balanced = ["parallel.data=4", "parallel.partition=balanced"];
    assert_eq!(train(&balanced, 3, 2, Streams::InOrder).0, reference);
}

#[test]
fn who_owns_what_changes_no_figure() {
    let folder = tempdir().unwrap();
    let formats = |zero: u8| {
        let run = folder.path().join(zero.to_string());
        let zero = format!("parallel.zero={zero}");
        let sets = ["--set", &zero, "--set", "run.steps=2", "--quiet", "--ranks", "4"];
        succeed(train_by_program(&run).args(sets));
        let records = metrics(&run).into_iter();
        records.map(|record| [record["formats"].clone(), record["mu"].clone()]).collect::<Vec<_>>()
    };
    let reference = formats(0);
    assert_eq!(formats(1), reference);
    assert_eq!(formats(2), reference);
}

#[test]
fn a_validation_split_that_is_too_short_is_told_of_on_any_number_of_ranks() {
    let folder = tempdir().unwrap();
    let text = folder.path().join("text");
    // 81 tokens of the split are one row, and a batch has four.
    std::fs::write(&text, vec![b'a'; 1620]).unwrap();
    let told = |ranks: &str| {
        let sets = ["--set", "data.validation=0.05", "--set", "run.steps=1", "--ranks", ranks];
        let run = folder.path().join(ranks);
        fail(train_by_program(&run).args(sets).arg("--quiet").arg("--data").arg(&text))
    };
    let one = told("1");
    assert!(one.contains("validation"), "{one}");
    assert!(told("4").contains("validation"));
}

#[test]
fn every_recipe_trains_on_ranks_close_to_one() {
    for recipe in ["fp32", "bf16", "te", "fp8lm-1", "fp8lm-2", "fp8lm-3", "deepseek-v3"] {
        let recipe = format!("recipe.name={recipe}");
        let one = train(&[&*recipe], 12, 2, Streams::InOrder).0;
        let two = train(&[&*recipe, "parallel.data=2"], 12, 2, Streams::InOrder).0;
        let (one, two) = (one[11], two[11]);
        assert!((two / one - 1.0).abs() < 0.01, "{recipe}: {one} on one rank, {two} on two");
    }
}

#[test]
fn every_algorithm_and_head_room_trains() {
    for algorithm in ["round-once", "nccl-ring", "nccl-tree", "halving-doubling"] {
        for head_room in ["pre", "post", "auto"] {
            let sets = [
                "parallel.data=3".to_owned(),
                "data.batch=6".to_owned(),
                format!("parallel.algorithm={algorithm}"),
                format!("recipe.head_room={head_room}"),
            ];
            let losses = train(&sets, 8, 2, Streams::InOrder).0;
            assert!(losses[7] < losses[0], "{algorithm}, {head_room}: {losses:?}");
        }
    }
}

#[test]
fn what_is_sent_is_what_the_formula_says() {
    for (recipe, linear, rest) in
        [("fp8lm-3", 2, 6), ("bf16", 6, 6), ("fp8lm-2", 3, 6), ("fp32", 8, 8)]
    {
        for ranks in [2, 4] {
            let sets = [format!("recipe.name={recipe}"), format!("parallel.data={ranks}")];
            let plan = plan(&sets);
            let options = WorldOptions { ranks, ..Default::default() };
            let world = World::new(&Emulator::default(), options);
            let sent = world.run(|Rank { device, link }| {
                let mut trainer = Trainer::join(&Place { device, link: Some(link) }, plan.clone())?;
                trainer.step()?;
                Ok::<_, fp8lm_trainer::Error>(trainer.traffic().clone())
            });
            let sent = sent.unwrap();
            let counted: u64 = (0..ranks).map(|rank| world.sent_by(rank).bytes).sum();
            let told: u64 = sent.iter().flat_map(|traffic| traffic.values()).sum();
            assert_eq!(told, counted, "{recipe}, {ranks} ranks: what the links have counted");
            // FP8LM, section 2.3: (b P_linear + 6 P_rest) (d - 1) / d a rank.
            let model = plan.model();
            let (linears, others) = (model.linear_parameters(), model.rest_parameters());
            let formula = (linear * linears + rest * others) * (ranks - 1);
            let scalars = |(label, _): &(Label, _)| *label == SCALARS;
            let tensors = sent.iter().flatten().filter(|(kind, _)| !scalars(kind));
            let tensors: u64 = tensors.map(|(_, bytes)| bytes).sum();
            assert_eq!(tensors, formula as u64, "{recipe}, {ranks} ranks");
        }
    }
}

/// Label by label, but for scalars.
#[test]
fn meshes_send_what_is_planned() {
    let meshes: [&[&str]; 16] = [
        &["parallel.tensor=2"],
        &["parallel.tensor=4", "model.heads=4", "recipe.name=bf16", "parallel.sequence=false"],
        &["parallel.tensor=2", "recipe.name=te", "recipe.reduce_scatter_wire=e4m3"],
        &["parallel.tensor=2", "recipe={name='deepseek-v3', columns='e5m6'}", "model.norm=layer"],
        &[
            "parallel.tensor=2",
            "recipe={name='deepseek-v3', columns='values'}",
            "model.tied_head=true",
        ],
        &["parallel.tensor=2", "run.recompute=full", "recipe.name=fp8lm-1"],
        &["parallel.tensor=2", "run.recompute=full", "parallel.sequence=false", "parallel.data=2"],
        &[
            "parallel.tensor=2",
            "parallel.data=2",
            "parallel.pipeline=2",
            "recipe.pipeline_wire=e4m3",
        ],
        &["parallel.pipeline=2"],
        &["parallel.pipeline=2", "parallel.data=2", "parallel.zero=0"],
        &["parallel.pipeline=2", "parallel.schedule=interleaved", "parallel.chunks=2"],
        &["parallel.pipeline=4", "parallel.schedule=dualpipe", "recipe.name=bf16"],
        &["parallel.pipeline=2", "parallel.schedule=dualpipe-v", "recipe.name=fp32"],
        &["parallel.pipeline=4", "recipe.pipeline_wire=e4m3", "parallel.data=2"],
        &["parallel.deterministic=true", "parallel.data=4", "parallel.zero=0"],
        &["parallel.deterministic=true", "parallel.data=2", "parallel.pipeline=2"],
    ];
    for mesh in meshes {
        let plan = plan(&[mesh, &["model.layers=4", "data.micro_batches=8"]].concat());
        let options = WorldOptions { ranks: plan.ranks(), ..Default::default() };
        let sent = World::new(&Emulator::default(), options).run(|Rank { device, link }| {
            let mut trainer = Trainer::join(&Place { device, link: Some(link) }, plan.clone())?;
            trainer.step()?;
            trainer.expect_planned_memory()?;
            Ok::<_, fp8lm_trainer::Error>(trainer.traffic().clone())
        });
        let sent = sent.unwrap();
        let planned = plan.traffic();
        let is_planned = |label: &Label| planned.iter().any(|row| row.label == *label);
        for ((label, _), _) in sent.iter().flatten() {
            assert!(is_planned(label), "{mesh:?}: {label} is sent and not planned");
        }
        for row in planned.iter().filter(|row| row.label != SCALARS) {
            let of_kind = sent.iter().flatten().filter(|((label, _), _)| *label == row.label);
            let bytes: u64 = of_kind.map(|(_, bytes)| bytes).sum();
            assert_eq!(Some(bytes), row.bytes, "{mesh:?}: {}", row.label);
        }
    }
}

/// On as many ranks, some own nothing of a kind, and the first rank speaks for all.
#[test]
fn the_first_rank_knows_the_memory_of_all() {
    let plan = plan(&["parallel.data=8", "data.batch=8"]);
    let options = WorldOptions { ranks: 8, ..Default::default() };
    let usage = World::new(&Emulator::default(), options).run(|Rank { device, link }| {
        let trainer = Trainer::join(&Place { device, link: Some(link) }, plan.clone())?;
        trainer.usage_by_rank()
    });
    let usage = usage.unwrap().swap_remove(0);
    for (rank, rows) in plan.memory_by_rank().iter().enumerate() {
        for row in rows.iter().filter(|row| row.bytes.is_some()) {
            let allocated = row.allocated(&usage[rank]);
            assert_eq!(Some(allocated), row.bytes, "rank {rank}: {}", row.label);
        }
    }
}

/// Trains `tiny` so many steps, every rank a thread.
fn train(sets: &[impl AsRef<str>], steps: u64, threads: usize, streams: Streams) -> Trace {
    let plan = plan(sets);
    let emulator = Emulator::new(Options { threads, ..Options::default() });
    let timeout = Duration::from_secs(100);
    let options = WorldOptions { ranks: plan.ranks(), timeout, streams, ..Default::default() };
    let traces = World::new(&emulator, options).run(|Rank { device, link }| {
        let trainer = Trainer::join(&Place { device, link: Some(link) }, plan.clone())?;
        trace(trainer, steps)
    });
    let mut traces = traces.unwrap();
    let first = traces.swap_remove(0);
    for (rank, (losses, state)) in (1..).zip(&traces) {
        assert_eq!(*losses, first.0, "the losses that rank {rank} has seen");
        assert_agrees(rank, state, &first.1);
    }
    first
}

/// What two ranks both keep is the same: histories of amaxes and mu, and under stage 0 everything.
fn assert_agrees(rank: usize, state: &[(String, Vec<u8>)], first: &[(String, Vec<u8>)]) {
    let mut both = 0;
    for (name, bytes) in state {
        if let Some((_, expected)) = first.iter().find(|(other, _)| other == name) {
            assert!(bytes == expected, "{name} on rank {rank} is not that of rank 0");
            both += 1;
        }
    }
    assert!(both > 0, "rank {rank} keeps nothing that rank 0 does");
}

fn plan(sets: &[impl AsRef<str>]) -> Plan {
    let sets: Vec<String> = sets.iter().map(|set| set.as_ref().to_owned()).collect();
    Plan::new(Config::load("tiny", None, &sets).unwrap()).unwrap()
}

fn trace(mut trainer: Trainer, steps: u64) -> fp8lm_trainer::Result<Trace> {
    let mut losses = Vec::new();
    for _ in 0..steps {
        losses.push(trainer.step()?.loss);
    }
    trainer.expect_planned_memory()?;
    let mut state = Vec::new();
    for (name, tensor) in trainer.state() {
        state.push((name, trainer.queue().download_bytes(&tensor)?));
    }
    Ok((losses, state))
}

fn assert_same(about: &impl Display, (losses, state): &Trace, reference: &Trace) {
    assert_eq!(*losses, reference.0, "{about}");
    for ((name, bytes), (expected, reference)) in state.iter().zip(&reference.1) {
        assert_eq!(name, expected, "{about}");
        let differs = bytes.iter().zip(reference).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{about}: first byte of {name} that differs");
    }
}
