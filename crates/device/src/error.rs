//! What can go wrong between a launch and its result.

use fp8lm_formats::DType;

use crate::{Label, LinkError};

/// The result of every call to a [`Device`](crate::Device).
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a device or of a call to one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device has not enough memory.
    #[error("{label}: {bytes} bytes are needed and {available} are free")]
    OutOfMemory {
        /// What the memory was for.
        label: Label,
        /// Bytes asked for.
        bytes: usize,
        /// Bytes that the device still has.
        available: usize,
    },
    /// The device does not know a kernel of this name.
    #[error("kernel `{kernel}` is unknown to this device")]
    UnknownKernel {
        /// The launch's kernel.
        kernel: &'static str,
    },
    /// An argument of a launch does not fit the kernel.
    #[error("kernel `{kernel}`, argument {index} (`{name}`): expected {expected}, got {got}")]
    Argument {
        /// The launch's kernel.
        kernel: &'static str,
        /// Position in the launch.
        index: usize,
        /// The parameter's name in the table of kernels.
        name: &'static str,
        /// What the kernel takes.
        expected: String,
        /// What the launch holds.
        got: String,
    },
    /// Two arguments share memory, and the kernel writes through one of them.
    #[error("kernel `{kernel}`: argument {written} is written and overlaps argument {other}")]
    Overlap {
        /// The launch's kernel.
        kernel: &'static str,
        /// Position of the argument that is written.
        written: usize,
        /// Position of the argument that shares its memory.
        other: usize,
    },
    /// A shape does not fit the operation.
    #[error("{operation}: `{tensor}` must be {expected}, and it is {got}")]
    Shape {
        /// The operation that was called.
        operation: &'static str,
        /// The tensor's role in it.
        tensor: &'static str,
        /// What the operation takes.
        expected: String,
        /// What the tensor is.
        got: String,
    },
    /// A tensor holds another element type than the caller asked for.
    #[error("{operation}: the tensor holds {got}, not {expected}")]
    Type {
        /// The operation that was called.
        operation: &'static str,
        /// The type asked for.
        expected: DType,
        /// The type that the tensor holds.
        got: DType,
    },
    /// Two lengths that must agree do not.
    #[error("{operation}: expected {expected} bytes, got {got}")]
    Length {
        /// The operation that was called.
        operation: &'static str,
        /// Bytes on the one side.
        expected: usize,
        /// Bytes on the other side.
        got: usize,
    },
    /// Memory of one device was given to another.
    #[error("{operation}: the memory belongs to another device")]
    ForeignMemory {
        /// The operation that was called.
        operation: &'static str,
    },
    /// Ranks that work together cannot go on.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A stream or an event that the device did not make.
    #[error("{operation}: this device made no such stream or event")]
    UnknownHandle {
        /// The operation that was called.
        operation: &'static str,
    },
    /// The device's driver or a library refused, or work that was enqueued before has failed.
    #[error("{operation}: {source}")]
    Failed {
        /// The operation that was called, or the kernel.
        operation: &'static str,
        /// What the driver or the library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
