//! The CUDA kernels, compiled for the GPU on any machine, and what can be checked without running them.

mod check;
mod compile;
mod ptxas;
mod source;

use std::time::Instant;

use anyhow::{Result, ensure};

use self::{
    compile::{ARCH, Compiled, Compiler},
    ptxas::Kernel,
    source::Source,
};
use crate::{
    cargo,
    wheels::{self, CUDA_13, NVRTC_12, lock},
};

/// How the chore is told what to do.
#[derive(Default, clap::Args)]
pub(crate) struct Options {
    /// Fetch the compiler, and compile nothing
    #[arg(long)]
    fetch_only: bool,
    /// Fetch the runtime compiler of CUDA 12 too
    #[arg(long)]
    nvrtc12: bool,
    /// Fetch NCCL too, which tests load where FP8LM_NCCL names its file
    #[arg(long)]
    nccl: bool,
}

/// Fetches the compiler, compiles every kernel and prints what they take. Whether nothing is wrong with them.
pub(crate) fn run(options: &Options) -> Result<bool> {
    if options.nccl {
        println!("NCCL: {}", wheels::nccl()?.display());
    }
    let target = cargo::target()?;
    let _lock = lock(&target)?;
    let toolkit = CUDA_13.fetch(&target)?;
    if options.nvrtc12 {
        println!("NVRTC of CUDA 12: {}", NVRTC_12.fetch(&target)?.join("lib").display());
    }
    if options.fetch_only {
        println!("NVRTC of CUDA 13: {}", toolkit.join("lib").display());
        return Ok(true);
    }
    let start = Instant::now();
    let (sources, headers) = source::read_all(&cargo::root())?;
    ensure!(!sources.is_empty(), "expected kernels/*.cu, found none");
    let compiler = Compiler::new(toolkit, CUDA_13.requirements, &headers)?;
    report(&compiler.compile_all(&sources)?, start)
}

/// Prints the kernels, then what is wrong with them, then the sum of it.
fn report(compiled: &[Compiled], start: Instant) -> Result<bool> {
    let mut rows = Vec::new();
    let mut violations = Vec::new();
    for compiled in compiled {
        let mut checked = check::check(compiled)?;
        checked.kernels.sort_by(|a, b| a.name.cmp(&b.name));
        rows.extend(checked.kernels.into_iter().map(|kernel| (&compiled.source, kernel)));
        violations.extend(checked.violations);
    }
    print!("{}", table(&rows));
    violations.iter().for_each(|violation| println!("{violation}"));
    let registers = rows.iter().map(|(_, kernel)| kernel.registers).max().unwrap_or(0);
    let unchanged = compiled.iter().filter(|compiled| compiled.is_unchanged).count();
    println!(
        "{} kernels in {} files compiled for {ARCH} ({unchanged} files unchanged): at most {registers} \
         registers, {} violations, {:.1} s",
        rows.len(),
        compiled.len(),
        violations.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(violations.is_empty())
}

/// A line for each kernel.
fn table(rows: &[(&Source, Kernel)]) -> String {
    let names = rows.iter().map(|(_, kernel)| kernel.name.len());
    let width = names.max().unwrap_or(0).max("kernel".len());
    let mut table = format!("{:width$}  registers  shared bytes  local bytes  source\n", "kernel");
    for (source, Kernel { name, registers, shared, stack, .. }) in rows {
        let path = &source.path;
        table += &format!("{name:width$}  {registers:9}  {shared:12}  {stack:11}  {path}\n");
    }
    table
}
