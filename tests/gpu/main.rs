//! The CUDA device on a machine without a GPU: on libraries that stand in for NVIDIA's.
//!
//! They are compiled from the C++ beside this file, and found by the system's loader as NVIDIA's would be, so that
//! everything in the device runs but NVIDIA's own code. The stand-ins take what the manuals say, and do work as late as
//! they may; what they do not know is how hardware rounds.

use std::{
    env, error, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use fp8lm_host::{Error, Options};
use fp8lm_kernels::{Code, Kind, table};

mod checks;
mod memory;
mod nccl;
mod products;

type Result<T> = std::result::Result<T, Box<dyn error::Error>>;

fn main() -> Result<ExitCode> {
    if let Some(folder) = env::var_os(FOLDER) {
        let folder = Path::new(&folder);
        match env::var(CHECKS).as_deref() {
            Ok("nccl") => nccl::run(folder)?,
            _ => checks::run(folder)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let kernels = match fp8lm_host::library(&Options { cache: cache()?, ..Options::default() }) {
        Err(Error::NoCompiler { compiler, .. }) => {
            say(&format!("skipped: there is no C++ compiler `{compiler}`"));
            return Ok(ExitCode::SUCCESS);
        }
        kernels => kernels?,
    };
    let folder = target()?.join("tmp/stand-ins");
    build(&folder, &kernels)?;
    let chosen = env::args().nth(1).unwrap_or_default();
    let mut all_pass = true;
    for (checks, gpus, algorithm) in RUNS {
        if format!("{checks} {algorithm}").contains(&chosen) {
            all_pass &= run(&folder, checks, gpus, algorithm)?;
        }
    }
    Ok(if all_pass { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks in a process of their own, which finds the stand-ins. Whether they pass, and nothing of a GPU is left.
fn run(folder: &Path, checks: &str, gpus: usize, algorithm: &str) -> Result<bool> {
    let meetings = tempfile::tempdir()?;
    let output = Command::new(env::current_exe()?)
        .env(FOLDER, folder)
        .env(CHECKS, checks)
        .env("LD_LIBRARY_PATH", folder.join("driver"))
        .env("STANDIN_GPUS", gpus.to_string())
        .env("STANDIN_NCCL", meetings.path())
        .env("NCCL_ALGO", algorithm)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().filter(|line| *line != RELEASED).collect::<Vec<_>>().join("\n");
    say(&format!("{told}{}", String::from_utf8_lossy(&output.stderr)));
    let is_whole = text.contains(RELEASED) || text.starts_with("skipped");
    Ok(output.status.success() && is_whole)
}

/// Compiles the stand-ins. The driver and NCCL are where the system looks, the others where the device is told to.
fn build(folder: &Path, kernels: &Path) -> Result<()> {
    let [driver, others] = ["driver", "lib"].map(|name| folder.join(name));
    fs::create_dir_all(&driver)?;
    fs::create_dir_all(&others)?;
    fs::write(driver.join("parameters.inc"), parameters())?;
    let kernels = format!("-DKERNELS=\"{}\"", kernels.display());
    let include = format!("-I{}", driver.display());
    compile("driver.cpp", &driver, "libcuda.so", &[&kernels, &include, "-ldl"])?;
    let search = format!("-L{}", driver.display());
    compile("cublaslt.cpp", &others, "libcublasLt.so.13", &[&search, "-lcuda"])?;
    compile("nccl.cpp", &driver, "libnccl.so.2", &[&kernels, &search, "-lcuda", "-ldl"])?;
    compile("nvrtc.cpp", &others, "libnvrtc.so.13", &[])?;
    compile("nvrtc.cpp", &others, "libnvrtc-builtins.so.13.7", &[])
}

fn compile(source: &str, folder: &Path, name: &str, more: &[&str]) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("gpu").join(source);
    let mut compiler = Command::new(Options::default().compiler);
    compiler.args(["-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]);
    compiler.arg(format!("-Wl,-soname,{name}")).arg("-o").arg(folder.join(name)).arg(&source);
    let output = compiler.args(more).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
}

/// The bytes of each parameter of each entry, which a real driver knows from the machine code.
fn parameters() -> String {
    let mut text = String::new();
    for kernel in table() {
        let Code::Cuda(cuda) = &kernel.code else { continue };
        let bytes = kernel.params.iter().map(|param| match param.kind {
            Kind::Read(_) | Kind::Write(_) | Kind::Update(_) => "24",
            Kind::U32 | Kind::U64 | Kind::F32 => "8",
        });
        let bytes: Vec<_> = bytes.chain(cuda.scratch.map(|_| "8")).collect();
        let alone = cuda.entries.iter().map(|entry| (entry.name, bytes.join(", ")));
        // Those that take several launches have a table, first blocks, and a count.
        let many = kernel.many().into_iter().flatten().map(|name| (*name, "8, 8, 8".into()));
        for (name, bytes) in alone.chain(many) {
            text += &format!("{{\"{name}\", {{{bytes}}}}},\n");
        }
    }
    text
}

/// A folder that other tests use as well.
fn cache() -> Result<PathBuf> {
    Ok(target()?.join("tmp/fp8lm/host-kernels"))
}

fn target() -> Result<PathBuf> {
    let test = env::current_exe()?;
    Ok(test.ancestors().nth(3).ok_or("a test lies in cargo's folder")?.to_owned())
}

#[expect(clippy::print_stdout, reason = "a test tells what it did")]
fn say(text: &str) {
    println!("{text}");
}

/// Names the folder of the stand-ins to the process that uses them.
const FOLDER: &str = "FP8LM_STAND_INS";
/// Names the checks to it.
const CHECKS: &str = "FP8LM_CHECKS";
/// Checks, on how many GPUs, and how NCCL reduces.
const RUNS: [(&str, usize, &str); 3] =
    [("device", 1, "Ring"), ("nccl", 5, "Ring"), ("nccl", 5, "Tree")];
/// What the stand-in for the driver says when it is given back its context, and has found no memory in use.
const RELEASED: &str = "the context was released, and all memory before it";
