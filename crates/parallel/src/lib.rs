//! What many ranks share: the mesh they stand in, which of them owns which tensor, and data-parallel steps.
//!
//! A [`Mesh`] gives every rank a place on named axes; a [`Partition`] gives every tensor an owner, whole, by one of
//! the [`PartitionRule`]s. Both are plain data, made before anything runs.
//!
//! ```
//! use fp8lm_parallel::{Axis, Mesh, PartitionRule};
//!
//! let mesh = Mesh::new(&[(Axis::Data, 3), (Axis::Tensor, 2)])?;
//! assert_eq!(mesh.ranks(), 6);
//! assert_eq!(mesh.group(3, Axis::Data)?, [1, 3, 5]);
//!
//! let partition = PartitionRule::Greedy.partition(&[1, 5, 3, 2], 2)?;
//! assert_eq!(partition.owners(), [0, 0, 1, 1]);
//! assert_eq!(partition.loads(), [6, 5]);
//! # Ok::<(), fp8lm_parallel::Error>(())
//! ```
//!
//! [`DataParallel`] is one rank's part in data-parallel training. Ranks that add up an FP8 gradient:
//!
//! ```
//! use std::sync::Arc;
//! use fp8lm_collectives::{Algorithm, Composed};
//! use fp8lm_device::{Alone, Collectives, Error, Label, Queue};
//! use fp8lm_formats::E4M3;
//! use fp8lm_parallel::{DataGroups, DataOptions, DataParallel, Zero};
//! use fp8lm_scaling::{LINEAR, Noise, Parameter, ParameterSpec, Shard, recipe};
//! use fp8lm_sim::{Emulator, Rank, World, WorldOptions};
//!
//! let spec = ParameterSpec {
//!     name: "w".into(),
//!     shape: [2, 2].into(),
//!     shard: Shard::WHOLE,
//!     precision: recipe("fp8lm-3").expect("a recipe").linears,
//!     labels: &LINEAR,
//!     decays: true,
//!     noise: Noise::default(),
//! };
//! let algorithm = Algorithm::RoundOnce;
//! let options = DataOptions { zero: Zero::Off, algorithm, bucket_bytes: 1 << 20, deterministic: false };
//!
//! let world = World::new(&Emulator::default(), WorldOptions { ranks: 2, ..Default::default() });
//! let means = world.run(|Rank { device, link }| {
//!     let (queue, rank) = (Queue::new(device)?, link.rank());
//!     let group: Arc<dyn Collectives> = Arc::new(Composed::new(link, &queue, algorithm)?);
//!     let alone: Arc<dyn Collectives> = Arc::new(Alone);
//!     let mut w = Parameter::new(&queue, spec.clone(), &alone, &[0.0; 4])?;
//!     let mut data = DataParallel::new(&queue, DataGroups::whole(&group), options, &mut [&mut w], &[])?;
//!
//!     w.begin_step(&queue, 0)?;
//!     let dw = queue.upload(&[[1.0f32, 2.0, 3.0, 4.0], [3.0; 4]][rank], [2, 2], Label("dw"))?;
//!     w.gradient_mut().add(&queue, dw)?;
//!     data.add(&queue, &mut w)?;
//!     data.finish(&queue, &[&mut w])?;
//!
//!     let scale_inv = queue.download::<f32>(w.gradient().scale_inv())?[0];
//!     let codes = queue.download::<E4M3>(w.gradient().result())?;
//!     Ok::<_, Error>(codes.into_iter().map(|code| code.to_f32() * scale_inv).collect::<Vec<_>>())
//! });
//! assert_eq!(means.expect("ranks that agree"), [[2.0, 2.5, 3.0, 3.5]; 2]);
//! ```
//!
//! A [`Schedule`] says what each rank of a pipeline does, as data; a [`Timeline`] says when, and how long it idles:
//!
//! ```
//! use fp8lm_parallel::{Costs, PipelineShape, Schedule, Timeline};
//!
//! let costs = Costs { forward: 1.0, backward: 2.0, weight: 1.0, overlapped: 3.0 };
//! let shape = PipelineShape { ranks: 16, chunks: 1, micro_batches: 32 };
//! let bubble = |schedule: Schedule| Ok(Timeline::new(&schedule.program(shape)?, costs)?.bubble());
//! assert_eq!(bubble(Schedule::OneFOneB)?, 45.0);
//! assert_eq!(bubble(Schedule::DualPipe)?, 14.0);
//! # Ok::<(), fp8lm_parallel::Error>(())
//! ```
//!
//! Limits: tensors are never split between owners; experts and contexts have no axis.

mod data;
mod error;
mod host;
mod mesh;
mod partition;
mod pipeline;
mod traffic;

pub use data::{DataGroups, DataOptions, DataParallel, Zero};
pub use error::{Error, Result};
pub use host::gather;
pub use mesh::{Axis, Coordinate, Mesh};
pub use partition::{Partition, PartitionRule};
pub use pipeline::{
    Costs, Pipeline, PipelineShape, Place, Program, Schedule, Stage, Step, Task, Timed, Timeline,
    Wait, Work,
};
pub use traffic::{FP8_GRADIENTS, GRADIENTS, PIPELINE, SCALARS, WEIGHTS};
