//! What the emulator's ranks and streams promise.

mod world;
