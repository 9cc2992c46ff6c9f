//! `fp8lm emulate`: single operations on tensors in files, for users of any language.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Result, bail};
use fp8lm_sim::{Emulator, Isa, Options};

use crate::cli::EmulateArgs;

mod adamw;
mod all_reduce;
mod call;
mod decode;
mod encode;
mod file;
mod gemm;
mod keys;
mod list;
mod quantize;
mod table;

use call::Call;
use keys::Keys;
use table::{Operation, joined};

/// Lists the operations, or computes one.
pub(crate) fn run(args: &EmulateArgs) -> Result<ExitCode> {
    if let (Some(name), Some(input), Some(output)) = (&args.operation, &args.input, &args.output) {
        compute(Operation::find(name)?, args, input, output)?;
    } else {
        io::stdout().write_all(list::table().as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn compute(operation: &Operation, args: &EmulateArgs, input: &Path, output: &Path) -> Result<()> {
    let keys = Keys::new(operation, &args.sets)?;
    let isa = isa(&args.isa)?;
    let mut options = Options { isa, ..Options::default() };
    options.threads = args.threads.map_or(options.threads, usize::from);
    let emulator = Arc::new(Emulator::new(options));
    let call = Call::new(operation, (emulator, isa), keys, (input, file::read(input)?))?;
    file::write(output, (operation.run)(&call)?)
}

fn isa(name: &str) -> Result<Isa> {
    let best = (name == "best").then(Isa::best);
    let Some(isa) = best.or_else(|| Isa::available().find(|isa| isa.name() == name)) else {
        let names: Vec<_> = Isa::available().map(Isa::name).chain(["best"]).collect();
        bail!("--isa {name}: expected {} on this machine", joined(&names, "or"))
    };
    Ok(isa)
}
