//! One process of a job.

use std::{
    ffi::OsString,
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{self, Command, Stdio},
};

use anyhow::{Result, anyhow};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::{log::Tee, verdict::End};

/// A process, and all that it starts in turn: a group of its own, so that a signal reaches it once, from here.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: String,
    process: process::Child,
    /// What copies its output, if that is shown.
    tee: Option<Tee>,
}

impl Child {
    /// Starts a process of that name, which is shown on the terminal or not.
    pub(super) fn start(
        name: String,
        is_shown: bool,
        command: &[OsString],
        variables: &[(&str, String)],
        log: File,
    ) -> Result<Self> {
        let mut start = Command::new(&command[0]);
        start.args(&command[1..]).envs(variables.iter().map(|(name, value)| (name, value)));
        start.stdin(Stdio::null()).process_group(0);
        if is_shown {
            start.stdout(Stdio::piped()).stderr(Stdio::piped());
        } else {
            start.stdout(log.try_clone()?).stderr(log.try_clone()?);
        }
        die_with_this_process(&mut start);
        let process = start.spawn();
        let mut process =
            process.map_err(|error| anyhow!("cannot run {}: {error}", command[0].display()))?;
        let tee = is_shown.then(|| Tee::start(&mut process, log)).transpose()?;
        Ok(Self { name, process, tee })
    }

    /// Sends a signal to the process and all that it has started.
    pub(super) fn signal(&self, signal: Signal) {
        // It may have ended by now, and nobody has asked how yet: then this reaches nobody.
        let _ = kill_process_group(self.pid(), signal);
    }

    /// How it has ended, if it has; nothing that it started outlives that.
    pub(super) fn end(&mut self) -> Result<Option<End>> {
        let has_ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(self.pid()), has_ended)?.is_none() {
            return Ok(None);
        }
        // Before it is waited for: until then no other group has its number.
        self.signal(Signal::KILL);
        let status = self.process.wait()?;
        if let Some(tee) = self.tee.take() {
            tee.finish();
        }
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(Some(code.map_or(End::Signal(status.signal().unwrap_or_default()), End::Code)))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }
}

impl Drop for Child {
    /// Whatever goes wrong here, no process stays behind.
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
            let _ = self.process.wait();
        }
    }
}

/// Has the process killed if this one ends in whatever way.
#[cfg(target_os = "linux")]
fn die_with_this_process(command: &mut Command) {
    let ask = || Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?);
    // SAFETY: between fork and exec the closure makes one system call, `prctl`, and neither allocates nor locks.
    unsafe { command.pre_exec(ask) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_this_process(_: &mut Command) {}
