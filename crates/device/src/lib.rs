//! The traits behind which backends stand, and the data that crosses them.
//!
//! A [`Device`] owns memory and works off [`Launch`]es. A launch is data: the name of a kernel
//! and its arguments. Code that computes is handed a [`Queue`] (a device and one of its streams)
//! and holds [`Tensor`]s. Nothing here knows which backend runs.
//!
//! A [`Link`] carries data between ranks, each with a device of its own, and [`Collectives`] are what they do together;
//! [`Alone`] is a group of one.
//!
//! [`Accounted`] wraps any device and counts its bytes by [`Label`].
//!
//! ```
//! use fp8lm_device::{Launch, Result, Queue, Tensor};
//!
//! /// Enqueues the kernel that overwrites a tensor with one value.
//! fn fill(queue: &Queue, y: &Tensor, value: f32) -> Result<()> {
//!     queue.launch(Launch::new("fill").write(y).f32(value))
//! }
//! ```
//!
//! Limits: tensors have one to four dims and are contiguous and row-major; a transposition is an
//! operation, not a view.
//!
//! Features: `ndarray` adds `Queue::upload_array` and `Queue::download_array`.

mod accounted;
#[cfg(feature = "ndarray")]
mod arrays;
mod collectives;
mod device;
mod error;
mod launch;
mod link;
mod link_error;
mod queue;
mod shape;
mod tensor;

pub use accounted::{Accounted, Usage};
pub use collectives::{Alone, Collectives, Pending, Reduction};
pub use device::{Device, Event, Label, Memory, Properties, Stream};
pub use error::{Error, Result};
pub use fp8lm_formats::{DType, Element};
pub use launch::{Arg, Launch};
pub use link::{Link, Tag, Transfer, expect_members, expect_rank};
pub use link_error::{LinkError, Waiting};
pub use queue::Queue;
pub use shape::Shape;
pub use tensor::{Tensor, View};
