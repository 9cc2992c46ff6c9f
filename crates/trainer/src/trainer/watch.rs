//! Where a rank's time goes in a step, told of those steps that get a record.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use fp8lm_device::{Collectives, Link, LinkError, Queue, Result, Stream, Tag, Transfer};

use crate::run::metrics::{Phase, Spent};

/// What a rank spends its time on.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) is_on: bool,
    spent: Spent,
    waits: Waits,
}

/// How long exchanges took in all, in nanoseconds. A rank mostly waits in them.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits(Arc<AtomicU64>);

/// When something began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    at: Instant,
    waited: Duration,
}

impl Watch {
    /// That counts these waits.
    pub(super) fn new(waits: Waits) -> Self {
        Self { waits, ..Self::default() }
    }

    /// Forgets the step before.
    pub(super) fn reset(&mut self) {
        self.spent = Spent::default();
    }

    /// What the step spent.
    pub(super) fn spent(&self) -> &Spent {
        &self.spent
    }

    pub(super) fn begin(&self) -> Begun {
        Begun { at: Instant::now(), waited: self.waits.total() }
    }

    /// Adds the time since then: to `phase`, but for what was spent in exchanges and, in another phase, on data.
    pub(super) fn end(&mut self, phase: Phase, begun: Begun, data: Duration) {
        let waited = self.waits.total() - begun.waited;
        let own = begun.at.elapsed().saturating_sub(waited).saturating_sub(data);
        self.spent.add(phase, own);
        self.spent.add(Phase::Data, data);
        self.spent.waited += waited.as_secs_f64();
    }
}

impl Waits {
    fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed))
    }
}

/// A link that counts how long its exchanges take.
#[derive(Debug)]
pub(super) struct Watched {
    link: Arc<dyn Link>,
    waits: Waits,
}

impl Watched {
    pub(super) fn over(link: Arc<dyn Link>, waits: &Waits) -> Arc<dyn Link> {
        Arc::new(Self { link, waits: waits.clone() })
    }
}

impl Link for Watched {
    fn rank(&self) -> usize {
        self.link.rank()
    }

    fn size(&self) -> usize {
        self.link.size()
    }

    fn exchange(&self, stream: Stream, tag: Tag, transfers: &[Transfer]) -> Result<()> {
        let begun = Instant::now();
        let exchanged = self.link.exchange(stream, tag, transfers);
        let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.waits.0.fetch_add(nanos, Relaxed);
        exchanged
    }

    fn split(&self, members: &[usize]) -> Result<Arc<dyn Link>> {
        Ok(Self::over(self.link.split(members)?, &self.waits))
    }

    fn channel(&self, members: &[usize]) -> Result<Arc<dyn Link>> {
        Ok(Self::over(self.link.channel(members)?, &self.waits))
    }

    fn native(&self, queue: &Queue) -> Option<Arc<dyn Collectives>> {
        self.link.native(queue)
    }

    fn abort(&self, error: LinkError) {
        self.link.abort(error);
    }
}
