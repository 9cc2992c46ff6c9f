//! The CUDA kernels, run on the CPU, against the emulator.

use std::{env, path::PathBuf, sync::Arc};

use fp8lm_conformance::{cases, run};
use fp8lm_device::Queue;
use fp8lm_host::{Error, HostKernels, Options};
use fp8lm_sim::Emulator;

#[test]
fn cuda_kernels_on_the_cpu_give_the_emulators_bits() {
    let cache = cache();
    let host = match HostKernels::new(&Options { cache, ..Options::default() }) {
        Err(Error::NoCompiler { compiler, .. }) => {
            println!("skipped: there is no C++ compiler `{compiler}`");
            return;
        }
        host => host.unwrap_or_else(|error| panic!("{error}")),
    };
    let reference = Queue::new(Arc::new(Emulator::default())).unwrap();
    let report = run(&reference, &Queue::new(Arc::new(host)).unwrap(), cases());
    println!("{report}");
    assert!(report.failures().is_empty(), "{} cases differ", report.failures().len());
}

/// A folder under `target` that the program's tests use as well.
fn cache() -> PathBuf {
    let test = env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    target.join("tmp/fp8lm/host-kernels")
}
