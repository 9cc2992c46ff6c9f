//! Work and its limit, measured in turns.

use std::{hint::black_box, time::Instant};

/// The fastest times of `work` and of `limit`, in seconds a call. They take turns, so that what else
/// the machine does slows both.
///
/// `bytes` tells how much a call moves: calls that are too short for the clock are made many at a
/// time.
pub fn alternate<T>(
    state: &mut T,
    bytes: usize,
    work: impl Fn(&mut T),
    limit: impl Fn(&mut T),
) -> [f64; 2] {
    let calls = (MOVED / bytes.max(1)).max(1);
    let mut best = [f64::INFINITY; 2];
    for _ in 0..TURNS {
        best[0] = best[0].min(seconds(state, calls, &work));
        best[1] = best[1].min(seconds(state, calls, &limit));
    }
    best
}

/// Copies memory as the system's library does it.
pub fn memcpy(from: &[f32], to: &mut [f32]) {
    black_box(to).copy_from_slice(black_box(from));
}

fn seconds<T>(state: &mut T, calls: usize, work: impl Fn(&mut T)) -> f64 {
    let start = Instant::now();
    (0..calls).for_each(|_| work(state));
    start.elapsed().as_secs_f64() / calls as f64
}

/// Bytes that a measurement moves at least.
const MOVED: usize = 8 << 20;
/// On a machine that is shared, few of them are undisturbed.
const TURNS: usize = 40;
