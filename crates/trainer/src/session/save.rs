//! Checkpoints of a session: begun by all ranks, written by the first, waited for by all.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use super::Session;
use crate::Result;

impl Session {
    /// Saves the run as it is, beside the steps that follow.
    pub(super) fn save(&mut self) -> Result<()> {
        let begun = Instant::now();
        // First, so that the first rank never holds the states of two checkpoints.
        self.settle()?;
        self.begin_checkpoint()?;
        self.stalled += begun.elapsed();
        Ok(())
    }

    /// Waits until no checkpoint is under way. A file may take longer to write than ranks wait for one another, so the
    /// others do not wait for the first one to be done: all hear every little while that it still writes.
    pub(super) fn settle(&mut self) -> Result<()> {
        let mut pause = SHORTEST_PAUSE;
        while self.trainer.plan().ranks() > 1 && self.trainer.largest(self.is_writing().into())? > 0
        {
            sleep(pause);
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        Ok(self.output.as_mut().map_or(Ok(()), |output| output.checkpoints.finish())?)
    }

    fn is_writing(&self) -> bool {
        self.output.as_ref().is_some_and(|output| output.checkpoints.is_writing())
    }

    fn begin_checkpoint(&mut self) -> Result<()> {
        let snapshot = self.trainer.snapshot()?;
        let (Some(output), Some(snapshot)) = (&mut self.output, snapshot) else { return Ok(()) };
        Ok(output.checkpoints.begin(&output.metrics, move || snapshot.checkpoint())?)
    }
}

/// Between two questions whether the first rank still writes, at first.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// The same after some of them.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    use fp8lm_sim::{Emulator, Rank, World, WorldOptions};

    use super::*;
    use crate::{Config, Ending, Place, Plan};

    /// For so long ranks wait for one another.
    const TIMEOUT: Duration = Duration::from_secs(2);
    /// For so long the first one writes.
    const WRITING: Duration = Duration::from_secs(5);

    /// Two ranks do `body` while a slow write, which tells when it ends, is under way.
    fn beside_a_slow_write(body: impl Fn(&mut Session, &AtomicBool) -> Result<()> + Sync) {
        let folder = tempfile::tempdir().unwrap();
        let sets = ["parallel.data=2".to_owned()];
        let plan = Plan::new(Config::load("tiny", None, &sets).unwrap()).unwrap();
        let options = WorldOptions { ranks: 2, timeout: TIMEOUT, ..Default::default() };
        let written = &*Box::leak(Box::new(AtomicBool::new(false)));
        let ends = World::new(&Emulator::default(), options).run(|Rank { device, link }| {
            let place = Place { device, link: Some(link) };
            let mut session = Session::create(folder.path(), &place, plan.clone())?;
            let snapshot = session.trainer.snapshot()?;
            if let (Some(output), Some(snapshot)) = (&mut session.output, snapshot) {
                output.checkpoints.begin(&output.metrics, move || {
                    sleep(WRITING);
                    written.store(true, SeqCst);
                    snapshot.checkpoint()
                })?;
            }
            body(&mut session, written)
        });
        ends.unwrap();
    }

    #[test]
    fn a_stopped_run_outwaits_a_write_that_takes_longer_than_ranks_wait_for_one_another() {
        beside_a_slow_write(|session, written| {
            let ending = session.run(&AtomicUsize::new(1), &mut |_| {})?;
            assert_eq!(ending, Ending::Stopped { asked: 1 });
            assert!(written.load(SeqCst), "the checkpoint is lost if the process ends now");
            session.measure_memory().map(|_| ())
        });
    }

    /// The first rank saves, and the other does what saving has to be: ranks that disagree end with an error.
    #[test]
    fn the_next_checkpoint_is_gathered_when_the_one_before_is_written() {
        beside_a_slow_write(|session, written| {
            if session.output.is_some() {
                return session.save();
            }
            session.settle()?;
            assert!(written.load(SeqCst));
            session.trainer.snapshot().map(|_| ())
        });
    }
}
