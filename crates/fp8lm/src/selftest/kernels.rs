//! Every kernel on two devices.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use anyhow::{Result, ensure};
use fp8lm_conformance::{Case, cases, run};
use fp8lm_device::Queue;
use fp8lm_kernels::{Code, find};
use fp8lm_trainer::text::align;

/// Whether all cases of the kernels whose name contains `filter` give the same bits; prints a line for each kernel.
pub(super) fn equal(reference: &Queue, device: &Queue, filter: &str) -> Result<bool> {
    let mut of_kernel = BTreeMap::<_, Vec<Case>>::new();
    for case in cases().into_iter().filter(|case| case.kernel().contains(filter)) {
        of_kernel.entry(case.kernel()).or_default().push(case);
    }
    ensure!(!of_kernel.is_empty(), "no kernel's name contains `{filter}`");
    let mut rows = vec![["kernel", "code", "cases", "equal"].map(String::from)];
    let (mut failures, mut passed) = (Vec::new(), 0);
    for (kernel, cases) in of_kernel {
        let count = cases.len();
        let report = run(reference, device, cases);
        passed += report.passed();
        rows.push(
            [kernel, code(kernel), &count.to_string(), &report.passed().to_string()]
                .map(String::from),
        );
        failures.extend(report.failures().iter().map(ToString::to_string));
    }
    let mut out = io::stdout().lock();
    write!(out, "{}", align(&rows))?;
    failures.iter().try_for_each(|failure| writeln!(out, "{failure}"))?;
    let kernels = rows.len() - 1;
    writeln!(out, "{kernels} kernels, {passed} cases equal in every bit, {} not", failures.len())?;
    Ok(failures.is_empty())
}

/// Where a GPU takes the kernel from.
fn code(kernel: &str) -> &'static str {
    match find(kernel).map(|kernel| &kernel.code) {
        Some(Code::Cuda(_)) => "ours",
        _ => "library",
    }
}
