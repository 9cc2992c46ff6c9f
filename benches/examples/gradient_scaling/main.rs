//! What head-room in the scale does to FP8 gradients that ranks sum, on real ones:
//!
//! ```text
//! cargo run --release -p fp8lm-benches --example gradient_scaling -- [PICTURE.svg [STEPS]]
//! ```
//!
//! The quickstart model trains for 30 steps, or as many as are asked for. At its weights each rank then takes the
//! gradient of a sequence of its own, which is kept in f32, cast to E4M3 with every kind of head-room, and summed by
//! every algorithm. What comes out is held against the mean of the f32 gradients in f64.
//!
//! First, ranks that are threads sum a gradient of each kind with the collectives that training uses, and must come to
//! the bits of the scalar code that does the rest.

use std::{error::Error, sync::Arc};

use fp8lm_device::Queue;
use fp8lm_sim::Emulator;

mod case;
mod cast;
mod chart;
mod gaussian;
mod head_room;
mod measured;
mod picture;
mod ranks;
mod reduction;
mod study;
mod tables;
mod training;

use ranks::compare;
use reduction::Algorithm;
use study::{Study, follow};
use training::{MOST_RANKS, Training};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let [picture, steps] = [1, 2].map(|argument| std::env::args().nth(argument));
    let steps = steps.map_or(Ok(STEPS), |steps| steps.parse())?;
    let emulator = Emulator::default();
    let mut training = Training::new(Queue::new(Arc::new(emulator.sibling()))?)?;
    (0..steps).try_for_each(|_| training.step())?;
    let gradients = training.gradients(MOST_RANKS)?;
    compare(&emulator, &gradients)?;
    let study = Study::of(&gradients);
    let moments = follow(&mut training, Algorithm::NcclRing)?;
    tables::print(&study, &moments);
    picture.map_or(Ok(()), |path| picture::draw(&path, &study, &moments))
}

/// Steps before the gradients are taken.
const STEPS: u64 = 30;
