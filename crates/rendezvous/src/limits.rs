//! The most of everything, so that nobody can make a process allocate or wait without end.

/// The most ranks that a store serves.
pub(crate) const MAX_WORLD_SIZE: usize = 1 << 16;
/// The longest key, and the longest name of a barrier, in bytes.
pub(crate) const MAX_KEY: usize = 256;
/// The longest value in bytes.
pub(crate) const MAX_VALUE: usize = 1 << 20;
/// The most that a store holds, keys and values and names together, in bytes.
pub(crate) const MAX_STORED: usize = 1 << 26;
/// The longest message of who has not yet shown that it knows the token, in bytes.
pub(crate) const MAX_CLAIM: usize = 64;
/// The longest message: a value and its key, or the ranks that are missing.
pub(crate) const MAX_MESSAGE: usize = MAX_VALUE + 1024;
/// The most connections of those who have not yet shown that they know the token. One more ends the oldest.
pub(crate) const MAX_PENDING: usize = 64;
