//! Exchanges beside other work.

use fp8lm_device::{LinkError, Tag, Transfer};
use fp8lm_sim::{Rank, RunError, Streams, World, WorldOptions};

use super::*;

fn world(ranks: usize, seed: u64) -> World {
    let streams = Streams::Adversarial { seed };
    World::new(emulator(), WorldOptions { ranks, streams, ..WorldOptions::default() })
}

fn tag(number: u64) -> Tag {
    Tag { operation: "turn", reduction: None, dtype: DType::F32, elements: Some(4), number }
}

/// Sends `from` to the next rank and receives `to` from the one before.
fn turn(rank: &Rank, queue: &Queue, number: u64, from: &Tensor, to: &Tensor) -> Result<()> {
    let (own, size) = (rank.link.rank(), rank.link.size());
    let send = Transfer::Send { peer: (own + 1) % size, from: from.view().clone() };
    let receive = Transfer::Receive { peer: (own + size - 1) % size, to: to.view().clone() };
    rank.link.exchange(queue.stream(), tag(number), &[send, receive])
}

/// What an exchange is not told to wait for, or nobody is told to wait for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forgets {
    Nothing,
    Before,
    After,
}

/// Each rank sums what all hold: what it got is added on one stream while it goes on around the ring on another.
fn sum(rank: &Rank, forgets: Forgets) -> Result<Vec<f32>> {
    let compute = Queue::new(rank.device.clone())?;
    let wire = compute.fork()?;
    let (total, mut x) = (vector(&compute, 4)?, vector(&compute, 4)?);
    fill(&compute, &total, 0.0)?;
    fill(&compute, &x, 1.0 + rank.link.rank() as f32)?;
    for number in 0..rank.link.size() {
        let next = vector(&compute, 4)?;
        if forgets != Forgets::Before {
            after(&compute, &wire)?;
        }
        turn(rank, &wire, number as u64, &x, &next)?;
        let (last, total_so_far) = (x, vector(&compute, 4)?);
        compute.copy(&total, &total_so_far)?;
        add(&compute, &total_so_far, &last, &total)?;
        if forgets != Forgets::After {
            after(&wire, &compute)?;
        }
        x = next;
    }
    compute.download(&total)
}

#[test]
fn exchanges_overlap_with_work() {
    for (ranks, seeds) in [(1, 5), (2, 25), (3, 25), (5, 10)] {
        let expected = (ranks * (ranks + 1) / 2) as f32;
        for seed in 0..seeds {
            let sums = world(ranks, seed).run(|rank| sum(&rank, Forgets::Nothing)).unwrap();
            assert_eq!(sums, vec![vec![expected; 4]; ranks], "seed {seed}");
        }
    }
}

#[test]
fn a_forgotten_wait_for_an_exchange_is_found() {
    for forgets in [Forgets::Before, Forgets::After] {
        let is_wrong = |seed| {
            let sums = world(2, seed).run(|rank| sum(&rank, forgets)).unwrap();
            sums != [[3f32; 4]; 2]
        };
        assert!((0..32).any(is_wrong), "no seed finds it");
    }
}

#[test]
fn an_exchange_that_waits_stops_no_other_stream() {
    for seed in 0..30 {
        let ends = world(2, seed).run(|rank| {
            let streams = [Queue::new(rank.device.clone())?, Queue::new(rank.device.clone())?];
            let (own, peer) = (rank.link.rank(), 1 - rank.link.rank());
            let groups = [rank.link.split(&[0, 1])?, rank.link.split(&[0, 1])?];
            let (x, y) = (vector(&streams[0], 4)?, vector(&streams[1], 4)?);
            fill(&streams[0], &x, own as f32)?;
            // The two ranks call them in opposite order, each on a stream of its own.
            for group in if own == 0 { [0, 1] } else { [1, 0] } {
                let transfer = match (own + group) % 2 {
                    0 => Transfer::Send { peer, from: x.view().clone() },
                    _ => Transfer::Receive { peer, to: y.view().clone() },
                };
                let stream = streams[(own + group) % 2].stream();
                groups[group].exchange(stream, tag(0), &[transfer])?;
            }
            streams[1].download::<f32>(&y)
        });
        assert_eq!(ends.unwrap(), [[1f32; 4], [0.0; 4]], "seed {seed}");
    }
}

#[test]
fn work_that_is_left_is_done_before_a_rank_ends() {
    for seed in 0..30 {
        let world = world(3, seed);
        let ends = world.run(|rank| {
            let queue = Queue::new(rank.device.clone())?;
            let (x, y) = (vector(&queue, 4)?, vector(&queue, 4)?);
            turn(&rank, &queue, 0, &x, &y)?;
            // Rank 0 alone stays to see it.
            if rank.link.rank() == 0 { queue.synchronize() } else { Ok(()) }
        });
        ends.unwrap();
        assert_eq!(world.sent_by(2).bytes, 16);
    }
}

#[test]
fn work_that_is_left_and_fails_is_an_error() {
    let ends = world(2, 0).run(|rank| {
        let queue = Queue::new(rank.device.clone())?;
        let (x, y) = (vector(&queue, 3)?, vector(&queue, 4)?);
        if rank.link.rank() == 1 {
            return add(&queue, &x, &x, &y);
        }
        turn(&rank, &queue, 0, &y, &y)?;
        match queue.synchronize() {
            Err(Error::Link(LinkError::RankFailed { rank: 1, reason })) => {
                assert!(reason.contains("kernel `add`"), "{reason}");
                Ok(())
            }
            other => panic!("rank 1 failed, and here is {other:?}"),
        }
    });
    assert!(matches!(ends, Err(RunError::Device { rank: 1, .. })), "{ends:?}");
}

#[test]
fn a_world_forgets_what_failed_in_an_earlier_run() {
    for seed in 0..4 {
        let world = world(2, seed);
        let failed = world.run(|rank| {
            // What rank 0 sends on two streams, nobody ever receives.
            for number in 0..2 * (1 - rank.link.rank()) as u64 {
                let queue = Queue::new(rank.device.clone())?;
                let x = vector(&queue, 4)?;
                let send = Transfer::Send { peer: 1, from: x.view().clone() };
                rank.link.exchange(queue.stream(), tag(number), &[send])?;
            }
            Ok::<_, Error>(())
        });
        assert!(matches!(failed, Err(RunError::Device { rank: 0, .. })), "{failed:?}");
        let again = world.run(|rank| sum(&rank, Forgets::Nothing));
        assert_eq!(again.unwrap(), [[3f32; 4]; 2], "seed {seed}");
    }
}
