//! Rotary position embedding, on queries and keys in place.
