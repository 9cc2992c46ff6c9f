//! Compiles every kernel with the NVRTC of a folder, on any machine.
//!
//! `cargo run -p fp8lm-cuda --example nvrtc -- FOLDER`

use std::{env, process::ExitCode, time::Instant};

use fp8lm_cuda::{Error, Nvrtc, Options};
use fp8lm_kernels::modules;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its reader")]
fn main() -> ExitCode {
    let folders: Vec<_> = env::args_os().skip(1).map(Into::into).collect();
    if folders.is_empty() {
        println!("nothing to do: name a folder that has libnvrtc and its builtins");
        return ExitCode::SUCCESS;
    }
    match compile(&Options { folders, ..Options::default() }) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A line for each module.
fn compile(options: &Options) -> Result<String, Error> {
    let nvrtc = Nvrtc::open(options)?;
    let mut report = format!("NVRTC {}\n", nvrtc.version());
    for module in modules() {
        let start = Instant::now();
        let cubin = nvrtc.compile(&module)?;
        let milliseconds = start.elapsed().as_millis();
        report += &format!("{}: {} bytes in {milliseconds} ms\n", module.source.path, cubin.len());
    }
    Ok(report)
}
