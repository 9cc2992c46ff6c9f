//! What the emulator's ranks and streams promise.

mod streams;
mod world;
