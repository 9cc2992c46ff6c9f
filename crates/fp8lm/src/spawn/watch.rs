//! One start of a node's processes, to its end.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::process::Signal;

use super::{
    child::Child,
    signals::Signals,
    verdict::{Ended, Severity},
};

/// Waits for all processes, hands on signals, and ends all if one is lost or fails: by SIGTERM, after `grace` by
/// SIGKILL. Returns how they ended, in that order, without those whose end says only that they were ended here.
pub(super) fn watch(
    mut children: Vec<Child>,
    signals: &Signals,
    grace: Duration,
) -> Result<Vec<Ended>> {
    let mut all = Vec::new();
    let mut deadline: Option<Instant> = None;
    while !children.is_empty() {
        for signal in signals.take() {
            tell(&children, signal);
        }
        let ended = reap(&mut children)?;
        let is_bad = ended.iter().any(|ended| ended.end.severity() >= threshold(signals));
        let counts = |ended: &Ended| deadline.is_none() || ended.end.severity() == Severity::Failed;
        all.extend(ended.into_iter().filter(counts));
        if is_bad && deadline.is_none() {
            tell(&children, Signal::TERM);
            deadline = Some(Instant::now() + grace);
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            tell(&children, Signal::KILL);
        }
        thread::sleep(TICK);
    }
    Ok(all)
}

/// How bad an end must be to end the others. Those that were asked to stop save, which may take some of them longer.
fn threshold(signals: &Signals) -> Severity {
    if signals.stop().is_some() { Severity::Lost } else { Severity::Again }
}

fn tell(children: &[Child], signal: Signal) {
    children.iter().for_each(|child| child.signal(signal));
}

/// Takes out those that have ended.
fn reap(children: &mut Vec<Child>) -> Result<Vec<Ended>> {
    let mut ended = Vec::new();
    let mut running = Vec::new();
    for mut child in children.drain(..) {
        match child.end()? {
            Some(end) => ended.push(Ended { name: child.name.clone(), end }),
            None => running.push(child),
        }
    }
    *children = running;
    Ok(ended)
}

/// How often is looked.
const TICK: Duration = Duration::from_millis(20);
