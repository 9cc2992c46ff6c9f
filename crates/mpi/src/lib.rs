//! Ranks as processes: a [`Link`](fp8lm_device::Link) over messages of MPI.
//!
//! [`run`] makes a process one rank of a group: it hands it a link, and sees to it that all ranks come to one end.
//! What carries the bytes is a [`Transport`]: `native::Mpi`, behind the feature `mpi`, between processes, or [`Wires`]
//! between threads.
//!
//! ```
//! use std::{sync::Arc, thread};
//! use fp8lm_collectives::{Algorithm, Collectives, Composed};
//! use fp8lm_device::{Label, Queue, Reduction, Result};
//! use fp8lm_mpi::{Options, Wires, run};
//! use fp8lm_sim::Emulator;
//!
//! /// What each rank does, be it a thread or, with `Mpi::start()`, a process.
//! fn sum(transport: Wires) -> Vec<f32> {
//!     let device = Arc::new(Emulator::default());
//!     let sum = run(Box::new(transport), device.clone(), &Options::default(), |link| -> Result<_> {
//!         let queue = Queue::new(device)?;
//!         let group = Composed::new(link, &queue, Algorithm::NcclRing)?;
//!         let x = queue.upload(&[group.rank() as f32, 1.0], 2, Label("example"))?;
//!         group.all_reduce(&queue, x.view(), Reduction::Sum)?.wait(&queue)?;
//!         queue.download::<f32>(&x)
//!     });
//!     sum.unwrap()
//! }
//!
//! let ranks: Vec<_> = Wires::among(3).into_iter().map(|end| thread::spawn(|| sum(end))).collect();
//! for rank in ranks {
//!     assert_eq!(rank.join().unwrap(), [3.0, 3.0]);
//! }
//! ```
//!
//! Everything goes through the host's memory, so the device may be any. Bits are those of the collectives' own
//! orders; MPI reduces nothing.
//!
//! # Limits
//! A rank calls its links from one thread at a time. A failure is heard in calls to a link, so a rank that computes
//! goes on until its next. Ranks that wait for one another are found when their time is up, not at once.

mod error;
mod failure;
mod frame;
mod hub;
mod link;
mod memory;
#[cfg(feature = "mpi")]
pub mod native;
mod pace;
mod run;
mod state;
mod transport;
mod wire;

pub use error::Error;
pub use memory::Wires;
pub use run::{Options, RunError, run};
pub use transport::{Arrival, Transport};
