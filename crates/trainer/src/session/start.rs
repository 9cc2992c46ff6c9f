//! How a run is taken up: begun, gone on with, or whichever of both its folder asks for.

use std::{
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{Output, Session};
use crate::{
    Config, Error, Place, Plan, Result, Trainer,
    run::{
        self, RunFolder,
        checkpoint::{self, Checkpoint, Damaged},
    },
};

/// How a run is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// As a new one, in a folder that holds none.
    New,
    /// From its newest checkpoint, or from the start if it has none. The number of ranks need not be what it was.
    Resume,
    /// As [`Resume`](Self::Resume) if the folder holds a run, else as [`New`](Self::New).
    Either,
    /// By whatever starts the same run again and again: as [`Either`](Self::Either), but from the newest checkpoint
    /// that is whole, and only if the configuration is the same. Under `parallel.elastic` the number of data-parallel
    /// ranks may be another. Where a process of an earlier start still has the folder, for half of
    /// `parallel.timeout_seconds`, this waits for it; after that, all ranks end with [`Error::InUse`].
    Restart,
}

/// What the first rank has found.
struct Found {
    folder: RunFolder,
    is_new: bool,
    /// Where to go on from; none for the start.
    from: Option<(PathBuf, Checkpoint)>,
    damaged: Vec<Damaged>,
}

impl Session {
    /// Takes up the run at `path`. The first rank looks what is there, and all do what it says.
    pub fn open(path: &Path, place: &Place, plan: Plan, start: Start) -> Result<Self> {
        let config = plan.config().to_toml()?;
        let mut trainer = Trainer::join(place, plan)?;
        let found = match place.rank() {
            0 => Found::wait(path, trainer.plan(), start)?,
            _ => None,
        };
        let step = trainer.hear_first(found.as_ref().map_or(Some(IN_USE), Found::step))?;
        if step == Some(IN_USE) {
            let (path, waited) = (path.to_owned(), patience(trainer.plan()));
            return Err(Error::InUse { path, waited });
        }
        let Some(Found { folder, is_new, from, damaged }) = found else {
            if let Some(step) = step {
                let path = checkpoint::path(&RunFolder::checkpoints_of(path), step);
                trainer.restore(&path, &checkpoint::load(&path)?)?;
            }
            return Ok(Self::new(trainer, path, None));
        };
        if let Some((path, checkpoint)) = &from {
            trainer.restore(path, checkpoint)?;
        }
        let run = &trainer.plan().config().run;
        let output = match is_new {
            true => Output::create(folder, run)?,
            false => {
                folder.write_config(&config)?;
                Output::resume(folder, run, trainer.steps_done())?
            }
        };
        let earlier = output.seconds()?;
        Ok(Self { earlier, damaged, ..Self::new(trainer, path, Some(output)) })
    }

    /// The checkpoints that a restart has set aside, on the first rank.
    pub fn damaged(&self) -> &[Damaged] {
        &self.damaged
    }
}

impl Found {
    /// What there is; for a restart nothing, if another process has the folder for too long.
    fn wait(path: &Path, plan: &Plan, start: Start) -> Result<Option<Self>> {
        let until = Instant::now() + patience(plan);
        loop {
            match Self::look(path, plan, start) {
                Err(Error::Run(run::Error::RunLocked { .. })) if start == Start::Restart => {}
                found => return found.map(Some),
            }
            if Instant::now() > until {
                return Ok(None);
            }
            sleep(PAUSE);
        }
    }

    /// The step to go on from.
    fn step(&self) -> Option<u64> {
        self.from.as_ref().map(|(_, from)| from.step)
    }

    fn look(path: &Path, plan: &Plan, start: Start) -> Result<Self> {
        let is_new = match start {
            Start::New => true,
            Start::Resume => false,
            Start::Either | Start::Restart => !RunFolder::holds_run(path),
        };
        if is_new {
            let folder = RunFolder::create(path, &plan.config().to_toml()?)?;
            return Ok(Self { folder, is_new, from: None, damaged: Vec::new() });
        }
        let folder = RunFolder::resume(path)?;
        let checkpoints = folder.checkpoints();
        if start == Start::Restart {
            expect_same(path, plan.config())?;
            let mut damaged = Vec::new();
            let from = checkpoint::last_whole(&checkpoints, &mut damaged)?;
            return Ok(Self { folder, is_new, from, damaged });
        }
        let newest = checkpoint::latest(&checkpoints)?;
        let from = newest.map(|path| Ok::<_, Error>((path.clone(), checkpoint::load(&path)?)));
        Ok(Self { folder, is_new, from: from.transpose()?, damaged: Vec::new() })
    }
}

/// For how long a restart waits for the folder. The other ranks wait for the first one no longer than twice that.
fn patience(plan: &Plan) -> Duration {
    Duration::from_secs(plan.config().parallel.timeout_seconds) / 2
}

/// An error unless a run goes on as it was begun.
fn expect_same(path: &Path, config: &Config) -> Result<()> {
    let before = Config::of_run(path, &[], None)?;
    let (path, [was, now]) = (path.to_owned(), [&before, config].map(|c| c.parallel.data));
    if was != now && !config.parallel.elastic {
        return Err(Error::NotElastic { path, was, now });
    }
    match config.change_since(&before)? {
        Some([key, was, now]) => Err(Error::Changed { path, key, was, now }),
        None => Ok(()),
    }
}

/// Instead of a step, that another process has the folder.
const IN_USE: u64 = u64::MAX - 1;

/// Between two tries to lock the folder.
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::thread::spawn;

    use super::*;
    use crate::testing::at_places;

    /// What each of two ranks meets that start the run again.
    fn restart(path: &Path, timeout: &str) -> Vec<Result<()>> {
        let sets = ["parallel.data=2", timeout];
        let open = |place: &Place, plan: &Plan| {
            Ok(Session::open(path, place, plan.clone(), Start::Restart).map(|_| ()))
        };
        at_places(&sets, open)
    }

    fn lock(path: &Path) -> RunFolder {
        let config = Config::load("tiny", None, &["parallel.data=2".to_owned()]).unwrap();
        RunFolder::create(path, &config.to_toml().unwrap()).unwrap()
    }

    #[test]
    fn a_restart_waits_for_the_folder_of_a_process_that_is_about_to_end() {
        let parent = tempfile::tempdir().unwrap();
        let folder = lock(parent.path());
        let other = spawn(move || {
            sleep(Duration::from_millis(500));
            drop(folder);
        });
        for end in restart(parent.path(), "parallel.timeout_seconds=60") {
            end.unwrap();
        }
        other.join().unwrap();
    }

    #[test]
    fn all_ranks_say_that_the_folder_is_in_use() {
        let parent = tempfile::tempdir().unwrap();
        let _folder = lock(parent.path());
        for end in restart(parent.path(), "parallel.timeout_seconds=1") {
            let Err(Error::InUse { path, waited }) = end else { panic!("{end:?}") };
            assert_eq!((path.as_path(), waited), (parent.path(), Duration::from_millis(500)));
        }
    }
}
