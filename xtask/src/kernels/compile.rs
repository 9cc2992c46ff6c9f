//! Each source through NVIDIA's compiler to PTX, and from there through the assembler to machine code.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    iter,
    panic::resume_unwind,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, ScopedJoinHandle},
};

use anyhow::{Context, Result, ensure};

use super::source::{FOLDER, Source};
use crate::cargo::{is_available, root};

/// The compiler, and where its results lie.
pub(super) struct Compiler {
    toolkit: PathBuf,
    results: PathBuf,
    /// Of what every result depends on, apart from its source.
    hasher: DefaultHasher,
}

/// What became of a source.
pub(super) struct Compiled {
    pub(super) source: Source,
    /// What the compiler says, if it does not compile.
    pub(super) code: Result<Code, String>,
    /// Whether the result was there, of the same text.
    pub(super) is_unchanged: bool,
}

/// Compiled kernels.
pub(super) struct Code {
    pub(super) ptx: String,
    /// What the assembler says of them.
    pub(super) log: String,
}

impl Compiler {
    /// The one in the folder of a toolkit, which was fetched by these requirements.
    pub(super) fn new(toolkit: PathBuf, requirements: &str, headers: &[Source]) -> Result<Self> {
        let has_host = is_available(Command::new(HOST_COMPILER).arg("--version"));
        ensure!(has_host, "{HOST_COMPILER} is missing: nvcc preprocesses with it");
        let results = toolkit.join(FOLDER);
        fs::create_dir_all(&results)
            .with_context(|| format!("cannot make {}", results.display()))?;
        let mut hasher = DefaultHasher::new();
        (requirements, NVCC, PTXAS).hash(&mut hasher);
        headers.iter().for_each(|header| header.hash(&mut hasher));
        Ok(Self { toolkit, results, hasher })
    }

    /// Compiles every source, on all cores; in the order of paths.
    pub(super) fn compile_all(&self, sources: &[Source]) -> Result<Vec<Compiled>> {
        let next = AtomicUsize::new(0);
        let take = || sources.get(next.fetch_add(1, Ordering::Relaxed));
        let work = || iter::from_fn(take).map(|source| self.compile(source)).collect::<Vec<_>>();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let done: Vec<Result<Compiled>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
            let results = workers.into_iter().map(ScopedJoinHandle::join);
            results.flat_map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        let mut compiled = done.into_iter().collect::<Result<Vec<_>>>()?;
        compiled.sort_by(|a, b| a.source.cmp(&b.source));
        Ok(compiled)
    }

    /// Compiles a source, unless its result is there.
    fn compile(&self, source: &Source) -> Result<Compiled> {
        let key = self.key(source);
        let is_unchanged =
            fs::read_to_string(self.path(source, "key")).is_ok_and(|before| before == key);
        let code = if is_unchanged { Ok(self.read(source)?) } else { self.build(source, &key)? };
        Ok(Compiled { source: source.clone(), code, is_unchanged })
    }

    /// The code, or what the compiler says. The key goes first and comes last, so that it stands by a whole result.
    fn build(&self, source: &Source, key: &str) -> Result<Result<Code, String>> {
        for old in ["key", "cubin"].map(|end| self.path(source, end)) {
            if old.exists() {
                fs::remove_file(&old)
                    .with_context(|| format!("cannot remove {}", old.display()))?;
            }
        }
        if let Err(message) = self.nvcc(source)? {
            return Ok(Err(message));
        }
        let log = match self.ptxas(source)? {
            Ok(log) => log,
            Err(message) => return Ok(Err(message)),
        };
        for (end, text) in [("log", &*log), ("key", key)] {
            fs::write(self.path(source, end), text)
                .with_context(|| format!("no {end} of {}", source.path))?;
        }
        Ok(Ok(self.read(source)?))
    }

    fn read(&self, source: &Source) -> Result<Code> {
        let read = |end| {
            let path = self.path(source, end);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Code { ptx: read("ptx")?, log: read("log")? })
    }

    /// Where one of its results lies.
    fn path(&self, source: &Source, end: &str) -> PathBuf {
        self.results.join(format!("{}.{end}", source.stem()))
    }

    /// Tells a source from every other, and from itself under other headers or another compiler.
    fn key(&self, source: &Source) -> String {
        let mut hasher = self.hasher.clone();
        source.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    fn nvcc(&self, source: &Source) -> Result<Result<String, String>> {
        let mut nvcc = Command::new(self.toolkit.join("bin/nvcc"));
        // Flags from the environment would change results behind the key's back.
        nvcc.env_remove("NVCC_PREPEND_FLAGS").env_remove("NVCC_APPEND_FLAGS");
        nvcc.args(["-ccbin", HOST_COMPILER, "-I", FOLDER]).args(NVCC);
        messages(nvcc.arg("-o").arg(self.path(source, "ptx")).arg(&source.path))
    }

    fn ptxas(&self, source: &Source) -> Result<Result<String, String>> {
        let mut ptxas = Command::new(self.toolkit.join("bin/ptxas"));
        let [ptx, cubin] = ["ptx", "cubin"].map(|end| self.path(source, end));
        messages(ptxas.args(PTXAS).arg("-o").arg(cubin).arg(ptx))
    }
}

/// What a program writes to its standard error, as a failure if it fails.
fn messages(command: &mut Command) -> Result<Result<String, String>> {
    let output = command.current_dir(root()).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(if output.status.success() { Ok(messages) } else { Err(messages) })
}

/// The GPU that the kernels are compiled for.
pub(super) const ARCH: &str = "sm_90a";
const HOST_COMPILER: &str = "g++";

/// Arithmetic as it is written: nothing fused, flushed or approximated.
const NVCC: &[&str] = &[
    "-ptx",
    "-arch=sm_90a",
    "-std=c++17",
    "-fmad=false",
    "-ftz=false",
    "-prec-div=true",
    "-prec-sqrt=true",
    "-lineinfo",
    "-Werror=all-warnings",
];
const PTXAS: &[&str] = &["--verbose", "-arch=sm_90a", "--fmad=false", "-lineinfo"];
