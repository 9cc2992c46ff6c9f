//! What becomes of a run when a rank, a message or a call is not what the others count on: one error on every rank,
//! and nothing lost that was saved.

use std::{
    fs,
    path::Path,
    sync::{Mutex, atomic::AtomicUsize},
    thread::sleep,
    time::{Duration, Instant},
};

use fp8lm_sim::{Emulator, Fault, Rank, World, WorldOptions};
use fp8lm_trainer::{Config, Place, Plan, Session, Trainer};
use tempfile::tempdir;

use crate::program::{fp8lm, metrics, succeed};

/// How long a rank waits for the others.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn a_killed_rank_is_named_on_every_rank() {
    let errors = errors(WorldOptions::default(), |rank, trainer| match rank {
        2 => anyhow::bail!("the machine lost power"),
        _ => Ok(trainer.step().map(drop)?),
    });
    assert_others(&errors, 2, "rank 2 failed: the machine lost power");
}

#[test]
fn a_panic_is_named_on_every_rank() {
    let errors = errors(WorldOptions::default(), |rank, trainer| match rank {
        1 => panic!("no such luck"),
        _ => Ok(trainer.step().map(drop)?),
    });
    assert_others(&errors, 1, "rank 1 failed: it panicked: no such luck");
}

#[test]
fn a_rank_that_has_left_is_missed_at_once() {
    let started = Instant::now();
    let errors = errors(WorldOptions::default(), |rank, trainer| match rank {
        3 => Ok(()),
        _ => Ok(trainer.step().map(drop)?),
    });
    assert_others(&errors, 3, "no rank can go on: ");
    assert_others(&errors, 3, "rank 3 has ended");
    assert!(started.elapsed() < PATIENCE, "it took {:?}", started.elapsed());
}

#[test]
fn a_rank_that_does_not_come_is_waited_for_so_long_and_no_longer() {
    let started = Instant::now();
    let errors = errors(WorldOptions::default(), |rank, trainer| {
        if rank == 0 {
            sleep(2 * PATIENCE);
        }
        Ok(trainer.step().map(drop)?)
    });
    assert_others(&errors, 4, "waited 2s in vain: ");
    assert!(started.elapsed() < 3 * PATIENCE, "it took {:?}", started.elapsed());
}

#[test]
fn ranks_that_do_different_things_are_told_so() {
    let errors = errors(WorldOptions::default(), |rank, trainer| match rank {
        1 => Ok(trainer.evaluate(3).map(drop)?),
        _ => Ok(trainer.step().map(drop)?),
    });
    assert_others(&errors, 4, "rank 1 does all_reduce (sum) of f32[3]");
}

#[test]
fn a_damaged_message_is_told_of() {
    let fault = Fault::Damage { from: 1, to: 3, message: 20, bit: 3 };
    let options = WorldOptions { checksums: true, faults: vec![fault], ..Default::default() };
    let errors =
        errors(options, |_, trainer| (0..9).try_for_each(|_| Ok(trainer.step().map(drop)?)));
    assert_others(&errors, 4, "the message from rank 1 to rank 3 was damaged on its way");
}

#[test]
fn a_run_goes_on_with_fewer_and_with_more_ranks() {
    for ranks in [1, 2, 8] {
        let folder = tempdir().unwrap();
        let run = folder.path().join("run");
        lose_a_rank(&run);
        let before = metrics(&run);
        let saved = last_checkpoint(&run);
        assert_eq!(
            saved, 6,
            "checkpoints come every two steps, and a rank was lost after the seventh"
        );
        succeed(
            fp8lm().args(["train", "--quiet", "--ranks", &ranks.to_string(), "--resume"]).arg(&run),
        );
        let after = metrics(&run);
        assert_eq!(after[..saved], before[..saved], "{ranks} ranks: what was saved is kept");
        assert_eq!(after.len(), 12, "{ranks} ranks: the run is finished");
        let losses = |records: &[serde_json::Value]| records[records.len() - 1]["loss"].as_f64();
        assert!(losses(&after) < losses(&before), "{ranks} ranks: it goes on learning");
    }
}

/// Trains on four ranks, until the first is lost after its seventh step.
fn lose_a_rank(run: &Path) {
    let sets = ["parallel.data=4", "data.batch=8", "run.steps=12", "run.checkpoint_every=2"];
    let plan = plan(&sets);
    let never = AtomicUsize::new(0);
    let outcome = world(WorldOptions::default()).run(|Rank { device, link }| {
        let mut session = Session::create(run, &Place { device, link: Some(link) }, plan.clone())?;
        let ending = session.run(&never, &mut |record| {
            assert!(record.step < 7, "the machine lost power");
        });
        ending.map(drop)
    });
    let error = outcome.unwrap_err().to_string();
    assert_eq!(error, "rank 0 panicked: the machine lost power");
}

/// What each of four ranks ends with, when it trains `tiny` by `body` after a first step that all make.
fn errors(
    options: WorldOptions,
    body: impl Fn(usize, &mut Trainer) -> anyhow::Result<()> + Sync,
) -> Vec<String> {
    let plan = plan(&["parallel.data=4"]);
    let errors = Mutex::new(vec![String::new(); 4]);
    let outcome = world(options).run(|Rank { device, link }| {
        let rank = link.rank();
        let mut trainer = Trainer::join(&Place { device, link: Some(link) }, plan.clone())?;
        let mut live = || {
            trainer.step()?;
            body(rank, &mut trainer)
        };
        live().inspect_err(|error| errors.lock().unwrap()[rank] = error.to_string())
    });
    outcome.unwrap_err();
    errors.into_inner().unwrap()
}

fn world(options: WorldOptions) -> World {
    let options = WorldOptions { ranks: 4, timeout: PATIENCE, ..options };
    World::new(&Emulator::default(), options)
}

fn plan(sets: &[&str]) -> Plan {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Plan::new(Config::load("tiny", None, &sets).unwrap()).unwrap()
}

/// Every rank but the culprit must end with the same error, and `part` must be in it.
fn assert_others(errors: &[String], culprit: usize, part: &str) {
    let others: Vec<_> = errors.iter().enumerate().filter(|(rank, _)| *rank != culprit).collect();
    for (rank, error) in &others {
        assert!(error.contains(part), "rank {rank}: {error}");
        assert_eq!(*error, others[0].1, "rank {rank}");
    }
}

fn last_checkpoint(run: &Path) -> usize {
    let names = fs::read_dir(run.join("checkpoints")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let steps = names
        .filter_map(|name| name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok());
    steps.max().unwrap()
}
