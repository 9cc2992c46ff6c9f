//! Collectives over messages have the bits of collectives over memory.

use std::{iter::zip, sync::Arc};

use fp8lm_device::Queue;
use fp8lm_mpi::Wires;
use fp8lm_sim::{Adversarial, World, WorldOptions};

use crate::{
    ranks::{emulator, on_all, on_devices, options, values},
    work::{Found, work},
};

/// What ranks that are threads with a link in memory end with.
fn of_threads(ranks: usize) -> Vec<Vec<Found>> {
    let world = World::new(&emulator(), WorldOptions { ranks, ..Default::default() });
    world.run(|rank| work(Queue::new(rank.device)?, rank.link)).unwrap()
}

fn assert_same(found: Vec<Vec<Found>>, expected: &[Vec<Found>]) {
    for (rank, (found, expected)) in zip(found, expected).enumerate() {
        assert_eq!(found.len(), expected.len());
        for ((name, bytes), (_, expected)) in zip(&found, expected) {
            assert!(bytes == expected, "rank {rank}, {name}: other bytes");
        }
    }
}

#[test]
fn all_collectives_have_the_bits_of_threads() {
    for ranks in [1, 2, 3, 5] {
        let ends = on_all(ranks, |actor| work(actor.queue, actor.link));
        assert_same(values(ends), &of_threads(ranks));
    }
}

#[test]
fn streams_that_run_late_change_no_bit() {
    let expected = of_threads(4);
    for seed in 0..3 {
        let device = |rank| -> Arc<dyn fp8lm_device::Device> {
            Arc::new(Adversarial::new(&emulator(), seed * 8 + rank as u64))
        };
        let ends =
            on_devices(Wires::among(4), options(), device, |actor| work(actor.queue, actor.link));
        assert_same(values(ends), &expected);
    }
}
