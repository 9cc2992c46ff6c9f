//! The CUDA device of fp8lm: launches on an H100 or H200.
//!
//! [`Cuda::find`] looks for the driver and NVIDIA's libraries once, and says what is missing; [`CudaDevice`] is a GPU
//! as a [`Device`](fp8lm_device::Device). Kernels come from the table of `fp8lm-kernels`: those with device code are
//! compiled for Hopper, at build time or at their first launch, and matrix products that the table leaves to a library
//! go to cuBLASLt, as a [`MatmulPlan`] says. Building needs no CUDA: libraries are loaded when they are looked for.
//!
//! ```no_run
//! use std::sync::Arc;
//! use fp8lm_cuda::{Cuda, CudaDevice, Options};
//! use fp8lm_device::{Label, Launch, Queue};
//!
//! let cuda = Cuda::find(&Options { folders: vec!["nvidia/cu13/lib".into()], ..Options::default() })?;
//! let queue = Queue::new(Arc::new(CudaDevice::with(&cuda, 0)?))?;
//!
//! let label = Label("example");
//! let x = queue.upload(&[1.0f32, 2.0, 4.0], 3, label)?;
//! let y = queue.alloc(x.dtype(), 3, label)?;
//! queue.launch(Launch::new("reciprocal").read(&x).write(&y))?;
//! assert_eq!(queue.download::<f32>(&y)?, [1.0, 0.5, 0.25]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where machine code comes from
//!
//! 1. Built in, if the environment variable `FP8LM_CUBINS` named a folder of `*.cubin` files when this crate was built:
//!    those that `cargo xtask kernels` made of the same sources, in `cuda/kernels` of cargo's target folder.
//! 2. From [`Options::cache`], by a hash of sources, headers, flags and compiler.
//! 3. From NVRTC, at the first launch of a kernel of the module.
//!
//! # Order and memory
//!
//! A stream is CUDA's. Memory is allocated and freed in the order of the stream that it was allocated for; a launch on
//! another stream starts after the allocation, and what several streams have worked on is freed by one for that alone,
//! which waits, on the GPU, for all of them.
//! Uploads go by way of pinned memory. What waits for work: `download`, `synchronize`, the drop of the device, an
//! allocation that finds no memory before it gives up, and an upload when 256 MiB of earlier ones are still under way.
//!
//! # Several GPUs
//!
//! [`NcclLink`] connects ranks, each with a GPU of its own. NCCL is loaded by `nccl-rs`; how its unique id comes to all
//! ranks is the caller's business.
//!
//! # Limits
//!
//! Compute capability 9.0, a driver of CUDA 12.8 or later, cuBLASLt 12.8 or later, for factors of blocks 12.9. cuBLASLt
//! multiplies FP8 whose k and n are multiples of 16, both operands contiguous in k, and no two E5M2; with factors of
//! blocks m is a multiple of 4. A sum that starts from what `d` holds adds it behind the products, where the table's
//! models start their chains from it, so its bits differ. What has not run on hardware yet, and how it will be shown,
//! stands in `docs/hardware.md`.

mod cubins;
mod device;
mod driver;
mod error;
mod events;
mod find;
mod functions;
mod launch;
mod libraries;
mod lt;
mod matmul;
mod memory;
mod nccl;
mod nvrtc;
mod point;
mod staging;
mod symbols;

pub use device::CudaDevice;
pub use error::{Code, Error, Version};
pub use find::{Cuda, Options};
pub use matmul::{Factor, Lay, MatmulPlan, Matrix, Scale, ScaleMode};
pub use nccl::{GiveUp, NcclLink, NcclOptions, Seat};
pub use nvrtc::Nvrtc;
