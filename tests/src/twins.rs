//! Every kernel of the table runs on the emulator, and refuses arguments that do not fit.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use fp8lm_device::{DType, Error, Label, Launch, Queue, Result};
use fp8lm_kernels::{Kernel, Kind};
use fp8lm_sim::Emulator;

#[test]
fn every_kernel_has_a_twin_that_takes_or_refuses_what_the_table_allows() {
    let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
    // Elements of every view, and the value of every extent and choice: one of all; more than there is; nothing.
    for (elements, extent) in [(1, 1), (2, 3), (0, 0)] {
        for kernel in fp8lm_kernels::table() {
            for choice in 0..choices(kernel) {
                let run = || run(&queue, kernel, choice, elements, extent);
                let case = format!("`{}`: types {choice}, {elements}, {extent}", kernel.name);
                let outcome = catch_unwind(AssertUnwindSafe(run));
                let outcome = outcome.unwrap_or_else(|_| panic!("{case}: the twin panics"));
                let answers = matches!(outcome, Ok(()) | Err(Error::Argument { .. }));
                assert!(answers, "{case}: {outcome:?}");
            }
        }
    }
}

/// The number of types that the kernel's most liberal parameter takes.
fn choices(kernel: &Kernel) -> usize {
    let types = kernel.params.iter().filter_map(|param| types(&param.kind));
    types.map(<[_]>::len).max().unwrap_or(1)
}

/// A launch whose every view has `elements` elements, of the type that stands at `choice`, or the last.
fn run(queue: &Queue, kernel: &Kernel, choice: usize, elements: usize, extent: u32) -> Result<()> {
    let mut launch = Launch::new(kernel.name);
    for param in kernel.params {
        let dtype =
            types(&param.kind).map_or(DType::U8, |types| types[choice.min(types.len() - 1)]);
        let tensor = queue.alloc(dtype, elements, TEST)?;
        queue.write_bytes(&vec![0; tensor.view().bytes()], &tensor)?;
        launch = match param.kind {
            Kind::Read(_) => launch.read(&tensor),
            Kind::Write(_) => launch.write(&tensor),
            Kind::Update(_) => launch.update(&tensor),
            Kind::U32 => launch.u32(extent),
            Kind::U64 => launch.u64(extent.into()),
            Kind::F32 => launch.f32(1.0),
        };
    }
    queue.launch(launch)?;
    queue.synchronize()
}

fn types(kind: &Kind) -> Option<&'static [DType]> {
    match kind {
        Kind::Read(types) | Kind::Write(types) | Kind::Update(types) => Some(types),
        Kind::U32 | Kind::U64 | Kind::F32 => None,
    }
}

const TEST: Label = Label("test");
