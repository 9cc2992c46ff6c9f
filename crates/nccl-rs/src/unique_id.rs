//! The name under which ranks find one another.

use std::fmt;

/// The name of a communicator in the making: where its first rank listens.
///
/// One rank asks for it, with [`Nccl::unique_id`](crate::Nccl::unique_id), and sends its bytes to all
/// others by some other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct UniqueId([u8; Self::BYTES]);

impl UniqueId {
    /// Bytes of an id.
    pub const BYTES: usize = 128;

    /// An id that another rank made.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes to send to the other ranks.
    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0
    }
}

/// Two hexadecimal digits a byte.
impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
