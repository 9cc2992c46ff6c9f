//! `fp8lm spawn`: starts this node's processes of a job and watches them, as torchrun's agent does.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use rustix::process::Signal;

use crate::{cli::SpawnArgs, exit::Exit};

mod child;
mod environment;
mod log;
mod signals;
mod verdict;
mod watch;

use environment::Node;
use log::Logs;
use signals::Signals;
use verdict::Verdict;

/// Starts the processes, again if need be, and ends as they do.
pub(crate) fn run(args: &SpawnArgs) -> Result<ExitCode> {
    let mut node = Node::new(args)?;
    // mpirun lets nobody save whom it ends, and hands this signal on.
    let stop = args.mpirun.then_some(Signal::USR1);
    let (signals, logs) = (Signals::catch(stop)?, Logs::create(&args.logs)?);
    let grace = Duration::from_secs(args.grace);
    loop {
        let children = node.start(&args.command, &logs)?;
        let ends = watch::watch(children, &signals, grace)?;
        let verdict = verdict::of(&ends, signals.stop());
        let may_restart = node.restarts < args.max_restarts;
        match verdict {
            Verdict::Again(worst) if may_restart && signals.stop().is_none() => {
                node.restarts += 1;
                let (restart, most) = (node.restarts, args.max_restarts);
                say(&format!("{worst}; starting again, {restart} of {most}"));
            }
            verdict => return Ok(end(verdict, &logs)),
        }
    }
}

/// How this process ends, after a word on why.
fn end(verdict: Verdict, logs: &Logs) -> ExitCode {
    match verdict {
        Verdict::Done => Exit::Done.into(),
        Verdict::Stopped(code) => ExitCode::from(code),
        Verdict::Again(worst) => {
            say(&logs.explain(&worst));
            Exit::Again.into()
        }
        Verdict::Failed(worst, code) => {
            say(&logs.explain(&worst));
            ExitCode::from(code)
        }
    }
}

/// A sentence on the error stream, if there is anybody left to read it.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "fp8lm spawn: {text}");
}
