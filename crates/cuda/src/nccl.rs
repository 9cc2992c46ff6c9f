//! Ranks with a GPU each, connected by NCCL.
//!
//! [`NcclLink`] is a rank's [`Link`](fp8lm_device::Link), and has collectives of its own, for a group to use. All its
//! communicators are made so that no call to NCCL blocks: every wait is this module's, and bounded.

use std::{fmt, sync::Arc, time::Duration};

use fp8lm_device::LinkError;
use nccl_rs::UniqueId;

mod calls;
mod collectives;
mod comm;
mod exchange;
mod link;
mod making;
mod operation;
mod watchdog;
mod world;

pub use link::NcclLink;

/// Which of the ranks a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Where the ranks meet: made by one of them, and brought to all others.
    pub unique_id: UniqueId,
    /// The rank, from 0.
    pub rank: usize,
    /// The number of ranks.
    pub size: usize,
}

/// How long ranks wait for one another, and what becomes of a rank that waited in vain.
#[derive(Clone)]
pub struct NcclOptions {
    /// How long an operation may take on the GPU once its stream has come to it, and how long ranks may take to
    /// connect.
    pub timeout: Duration,
    /// How long a rank whose link failed may take to let go of it before `give_up` is called.
    pub grace: Duration,
    /// Called once, from a thread of its own, if the rank still holds its link by then: it may hang where nothing can
    /// reach it. Ending the process is the caller's business.
    pub give_up: Option<GiveUp>,
}

/// What is done about a rank that hangs.
pub type GiveUp = Arc<dyn Fn(&LinkError) + Send + Sync>;

impl Default for NcclOptions {
    /// Five minutes, then ten seconds, then nothing.
    fn default() -> Self {
        let (timeout, grace) = (Duration::from_secs(300), Duration::from_secs(10));
        Self { timeout, grace, give_up: None }
    }
}

impl fmt::Debug for NcclOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeout, grace, give_up } = self;
        let gives_up = give_up.is_some();
        write!(f, "NcclOptions {{ timeout: {timeout:?}, grace: {grace:?}, gives_up: {gives_up} }}")
    }
}
