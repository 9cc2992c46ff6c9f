//! Gradients of 16 Mi elements summed in FP8 over four ranks on two cores, against one thread's copy of as many bytes
//! as the gradient of a rank has: `cargo bench -p fp8lm-benches --bench all_reduce`.
#![allow(clippy::print_stdout, reason = "it reports")]

use std::{
    sync::{Barrier, Mutex},
    time::{Duration, Instant},
};

use fp8lm_benches::{limit, pages::Pages};
use fp8lm_collectives::{Algorithm, Codes, Composed, Owner, Rounding, agree_amaxes, reduce_codes};
use fp8lm_device::{DType, Label, Queue, Result, Tensor};
use fp8lm_ops::{self as ops, ScaleRule};
use fp8lm_sim::{Emulator, Options, Rank, World, WorldOptions};

const RANKS: usize = 4;
const ELEMENTS: usize = 16 << 20;
/// Threads that share out a launch: each rank has its own, or all share two.
const THREADS: [usize; 2] = [1, 2];
/// On a machine that is shared, few of them are undisturbed.
const TURNS: usize = 20;
const LABEL: Label = Label("benchmark");

fn main() {
    println!("{RANKS} ranks, {ELEMENTS} elements each, in memcpys of a gradient");
    for threads in THREADS {
        for checksums in [false, true] {
            let emulator = Emulator::new(Options { threads, ..Options::default() });
            let options = WorldOptions { ranks: RANKS, checksums, ..WorldOptions::default() };
            let clock = Clock::new();
            let run = World::new(&emulator, options).run(|rank| measure(rank, &clock));
            run.expect("every launch fits the table of kernels");
            clock.report(threads, checksums);
        }
    }
}

/// One rank's part in all turns.
fn measure(rank: Rank, clock: &Clock) -> Result<()> {
    let is_first = rank.link.rank() == 0;
    let gradient = Gradient::new(rank)?;
    for _ in 0..TURNS {
        clock.time(Part::Whole, is_first, || {
            gradient.quantize()?;
            gradient.reduce()
        })?;
        clock.time(Part::Quantize, is_first, || gradient.quantize())?;
        clock.time(Part::Reduce, is_first, || gradient.reduce())?;
        clock.copy(is_first);
    }
    Ok(())
}

/// One rank's gradient, and what its sum takes.
struct Gradient {
    queue: Queue,
    group: Composed,
    x: Tensor,
    values: Tensor,
    scale: Tensor,
    scale_inv: Tensor,
    one: Tensor,
    amax: Tensor,
    counts: Tensor,
    largest: Tensor,
}

impl Gradient {
    fn new(rank: Rank) -> Result<Self> {
        let queue = Queue::new(rank.device)?;
        let seed = rank.link.rank() * ELEMENTS;
        let group = Composed::new(rank.link, &queue, Algorithm::RoundOnce)?;
        let x: Vec<_> = (seed..seed + ELEMENTS).map(value).collect();
        let scalar = |x: f32| queue.upload(&[x], 1, LABEL);
        Ok(Self {
            x: queue.upload(&x, ELEMENTS, LABEL)?,
            values: queue.alloc(DType::E4M3, ELEMENTS, LABEL)?,
            scale: scalar(1.0)?,
            scale_inv: scalar(1.0)?,
            one: scalar(1.0)?,
            amax: scalar(0.0)?,
            counts: queue.upload(&[0u64; 2], 2, LABEL)?,
            largest: queue.upload(&[0u64], 1, LABEL)?,
            group,
            queue,
        })
    }

    /// Under a scale on which the ranks agree.
    fn quantize(&self) -> Result<()> {
        let Self { queue, x, values, scale, scale_inv, one, amax, counts, .. } = self;
        ops::amax(queue, x, amax)?;
        agree_amaxes(&self.group, queue, amax)?.wait(queue)?;
        ops::scale_from_amax(queue, amax, one, 448.0, ScaleRule::Pow2, scale, scale_inv)?;
        ops::quantize(queue, x, scale, values, amax, counts)
    }

    /// The sum, on all ranks.
    fn reduce(&self) -> Result<()> {
        let Self { queue, values, scale, scale_inv, largest, .. } = self;
        let (rule, owner) = (ScaleRule::Pow2, Owner::All);
        let codes = Codes { values, scale, scale_inv, rule, owner, largest };
        reduce_codes(&self.group, queue, &[codes], Rounding::Once)?;
        queue.synchronize()
    }
}

/// What is timed.
#[derive(Clone, Copy)]
enum Part {
    Whole,
    Quantize,
    Reduce,
    Copy,
}

/// The fastest time of each part. All ranks begin at once, and the last one's end counts.
struct Clock {
    barrier: Barrier,
    fastest: Mutex<[Duration; 4]>,
    buffers: Mutex<[Pages<f32>; 2]>,
}

impl Clock {
    fn new() -> Self {
        let pages = || Pages::new(ELEMENTS).expect("the machine has that much memory");
        let fastest = Mutex::new([Duration::MAX; 4]);
        Self { barrier: Barrier::new(RANKS), fastest, buffers: Mutex::new([pages(), pages()]) }
    }

    fn time(&self, part: Part, is_first: bool, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.barrier.wait();
        let start = Instant::now();
        let end = work();
        self.barrier.wait();
        if is_first {
            self.note(part, start.elapsed());
        }
        end
    }

    /// One thread copies, while the others wait.
    fn copy(&self, is_first: bool) {
        if is_first {
            let mut buffers = self.buffers.lock().expect("nobody panicked");
            let [from, to] = &mut *buffers;
            let start = Instant::now();
            limit::memcpy(from, to);
            self.note(Part::Copy, start.elapsed());
        }
        self.barrier.wait();
    }

    fn note(&self, part: Part, time: Duration) {
        let mut fastest = self.fastest.lock().expect("nobody panicked");
        fastest[part as usize] = fastest[part as usize].min(time);
    }

    fn report(&self, threads: usize, checksums: bool) {
        let fastest = *self.fastest.lock().expect("nobody panicked");
        let [whole, quantize, reduce, copy] = fastest.map(|time| time.as_secs_f64() * 1e3);
        let threads = if threads == 1 { "a thread a rank" } else { "two threads for all" };
        let checksums = if checksums { "with" } else { "without" };
        println!("{threads}, {checksums} checksums; a memcpy takes {copy:.1} ms");
        for (name, time) in [("whole", whole), ("amax and cast", quantize), ("after them", reduce)]
        {
            println!("  {name:<13}  {time:5.1} ms  {:.2}", time / copy);
        }
    }
}

/// Roughly normal, and different from place to place: the sum of four uniform numbers.
fn value(index: usize) -> f32 {
    let mut bits = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits ^= bits >> 32;
    bits = bits.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (0..4).map(|i| f32::from((bits >> (16 * i)) as u16) / 65_536.0 - 0.5).sum()
}
