//! What a call to NCCL returns, as types.

use std::ffi::c_int;

/// How far a call, or a communicator, has come when nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done. Of an operation on a stream: it is enqueued.
    Ready,
    /// A communicator that does not block is still at it. Poll
    /// [`Communicator::async_error`](crate::Communicator::async_error) before the next call.
    InProgress,
}

/// The kind of an error that NCCL reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// A call to CUDA failed.
    UnhandledCudaError,
    /// A call to the operating system failed.
    SystemError,
    /// NCCL found itself in a state that should not be.
    InternalError,
    /// An argument has a value that is not allowed.
    InvalidArgument,
    /// The call is not allowed here.
    InvalidUsage,
    /// Another rank is gone, or the network failed.
    RemoteError,
    /// A number that this crate does not know.
    Unknown(i32),
}

impl Status {
    /// The meaning of an `ncclResult_t`.
    pub(crate) fn from_raw(code: c_int) -> Result<Self, ErrorCode> {
        Err(match code {
            0 => return Ok(Self::Ready),
            7 => return Ok(Self::InProgress),
            1 => ErrorCode::UnhandledCudaError,
            2 => ErrorCode::SystemError,
            3 => ErrorCode::InternalError,
            4 => ErrorCode::InvalidArgument,
            5 => ErrorCode::InvalidUsage,
            6 => ErrorCode::RemoteError,
            code => ErrorCode::Unknown(code),
        })
    }
}
