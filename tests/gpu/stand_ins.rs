//! The libraries that stand in for NVIDIA's, compiled.

use std::{error, fs, path::Path, process::Command};

use fp8lm_host::{Error, Options};
use fp8lm_kernels::{Code, Kind, table};

type Result<T> = std::result::Result<T, Box<dyn error::Error>>;

/// Compiles the stand-ins from the C++ in `sources`, with what the build keeps in `target`. In `folder` the driver and
/// NCCL lie in `driver`, where the system is told to look, the others in `lib`, where the device is. Whether there is a
/// compiler.
pub(crate) fn build(sources: &Path, folder: &Path, target: &Path) -> Result<bool> {
    // A folder that other tests use as well.
    let cache = target.join("tmp/fp8lm/host-kernels");
    match fp8lm_host::library(&Options { cache, ..Options::default() }) {
        Err(Error::NoCompiler { .. }) => Ok(false),
        kernels => build_on(sources, folder, &kernels?).map(|()| true),
    }
}

fn build_on(sources: &Path, folder: &Path, kernels: &Path) -> Result<()> {
    let [driver, others] = ["driver", "lib"].map(|name| folder.join(name));
    fs::create_dir_all(&driver)?;
    fs::create_dir_all(&others)?;
    fs::write(driver.join("parameters.inc"), parameters())?;
    let kernels = format!("-DKERNELS=\"{}\"", kernels.display());
    let include = format!("-I{}", driver.display());
    compile(sources, "driver.cpp", &driver, "libcuda.so", &[&kernels, &include, "-ldl"])?;
    let search = format!("-L{}", driver.display());
    compile(sources, "cublaslt.cpp", &others, "libcublasLt.so.13", &[&search, "-lcuda"])?;
    compile(sources, "nccl.cpp", &driver, "libnccl.so.2", &[&kernels, &search, "-lcuda", "-ldl"])?;
    compile(sources, "nvrtc.cpp", &others, "libnvrtc.so.13", &[])?;
    compile(sources, "nvrtc.cpp", &others, "libnvrtc-builtins.so.13.7", &[])
}

fn compile(sources: &Path, source: &str, folder: &Path, name: &str, more: &[&str]) -> Result<()> {
    let source = sources.join(source);
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
