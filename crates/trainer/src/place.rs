//! Where a rank of a run stands.

use std::sync::Arc;

use fp8lm_device::{Device, Link};

/// Where a rank of a run stands: its device, and its link to the others.
#[derive(Clone, Debug)]
pub struct Place {
    /// What it computes on.
    pub device: Arc<dyn Device>,
    /// How it reaches the others; none if there are none.
    pub link: Option<Arc<dyn Link>>,
}

impl Place {
    /// The place of a run's only rank.
    pub fn alone(device: Arc<dyn Device>) -> Self {
        Self { device, link: None }
    }

    /// Its rank, from 0.
    pub fn rank(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.rank())
    }

    /// The number of ranks.
    pub fn ranks(&self) -> usize {
        self.link.as_ref().map_or(1, |link| link.size())
    }
}
