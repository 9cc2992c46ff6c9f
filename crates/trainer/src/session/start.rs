//! How a run is taken up: begun, gone on with, or whichever of both its folder asks for.

use std::path::{Path, PathBuf};

use super::{Output, Session};
use crate::{
    Config, Error, Place, Plan, Result, Trainer,
    run::{
        RunFolder,
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
    /// ranks may be another.
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
            0 => Some(Found::look(path, trainer.plan(), start)?),
            _ => None,
        };
        let step = found.as_ref().and_then(|found| found.from.as_ref()).map(|(_, from)| from.step);
        let step = trainer.hear_first(step)?;
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
