//! Runs cases of every kernel under a sanitizer, whose runtime is in the process already: `cargo xtask sanitize`.
//!
//! It ends with 0 if the sanitizer found nothing and every bit is the emulator's.

#![expect(clippy::print_stdout, reason = "a program prints")]

use std::{collections::BTreeMap, env, error::Error, path::PathBuf, process::ExitCode, sync::Arc};

use fp8lm_conformance::{Case, cases, run};
use fp8lm_device::Queue;
use fp8lm_host::{HostKernels, Options, Sanitizer};
use fp8lm_sim::Emulator;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let sanitizer = match env::args().nth(1).as_deref() {
        Some("address") => Sanitizer::Address,
        Some("thread") => Sanitizer::Thread,
        other => return Err(format!("expected `address` or `thread`, got {other:?}").into()),
    };
    // `target`, three folders up, where the tests keep theirs.
    let target = env::current_exe()?.ancestors().nth(3).map(PathBuf::from).unwrap_or_default();
    let cache = target.join("tmp/fp8lm/host-kernels");
    let options = Options { cache, sanitizer: Some(sanitizer), ..Options::default() };
    let emulator = || Emulator::new(fp8lm_sim::Options { threads: 1, ..Default::default() });
    let kernels = HostKernels::with(emulator(), &options)?;
    let report =
        run(&Queue::new(Arc::new(emulator()))?, &Queue::new(Arc::new(kernels))?, some(cases()));
    println!("{report}");
    Ok(if report.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Cases of every kernel, spread evenly over all that it has: a sanitizer takes several times as long.
fn some(cases: Vec<Case>) -> Vec<Case> {
    let mut kernels = BTreeMap::<_, Vec<_>>::new();
    for case in cases {
        kernels.entry(case.kernel()).or_default().push(case);
    }
    let spread = |cases: Vec<Case>| {
        let step = cases.len().div_ceil(CASES);
        cases.into_iter().step_by(step)
    };
    kernels.into_values().flat_map(spread).collect()
}

/// At most so many of a kernel.
const CASES: usize = 48;
