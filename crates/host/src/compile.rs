//! Compiles the kernels into a library, file by file, and keeps what came out by its content.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
};

use fp8lm_kernels::{Module, Source, abi, headers, modules, shim};
use xxhash_rust::xxh3::xxh3_128;

use crate::Error;

/// How the kernels are compiled.
#[derive(Clone, Debug)]
pub struct Options {
    /// The C++ compiler.
    pub compiler: String,
    /// Where objects and libraries are kept. Several processes may share it.
    pub cache: PathBuf,
    /// What watches over the kernels' accesses.
    pub sanitizer: Option<Sanitizer>,
}

/// Watches over accesses of compiled code.
///
/// The sanitizer's runtime must be in the process from its start, by `LD_PRELOAD`. Blocks run one after another, so an
/// emulator of one thread is as fast as one of many, and what its others do, a sanitizer does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sanitizer {
    /// Finds accesses beyond an argument, for a launch works on copies of them, and beyond shared memory.
    Address,
    /// Finds accesses of a block that no barrier orders; exchanges between lanes order none.
    Thread,
}

impl Default for Options {
    /// `c++`, and a folder for temporary files.
    fn default() -> Self {
        let cache = env::temp_dir().join("fp8lm-host-kernels");
        Self { compiler: "c++".into(), cache, sanitizer: None }
    }
}

/// The path of the library that holds every entry of the table, each as `abi::host_entries` says; compiled, unless the
/// cache has it.
///
/// # Errors
/// If there is no compiler, a kernel does not compile, or the cache cannot be written.
pub fn library(options: &Options) -> Result<PathBuf, Error> {
    let compiler = Compiler::new(options)?;
    let units = units();
    let objects = compiler.objects(&units)?;
    let key = objects.iter().map(|path| path.display().to_string()).collect::<String>();
    let path = compiler.cached(&key, "so");
    compiler.make(&path, "the library of kernels", |command, out| {
        command.args(["-shared", "-pthread", "-o"]).arg(out).args(&objects);
    })?;
    Ok(path)
}

/// A text to be compiled.
struct Unit {
    name: &'static str,
    text: String,
}

fn units() -> Vec<Unit> {
    let modules = modules().map(|module| Unit { name: module.name, text: host_text(&module) });
    let shim = shim().iter().filter(|source| source.path.ends_with(".cpp"));
    let shim = shim.map(|source| Unit { name: source.path, text: source.text.into() });
    modules.chain(shim).collect()
}

fn host_text(module: &Module) -> String {
    format!("#include \"{}\"\n{}", module.source.path, abi::host_entries(module.kernels))
}

struct Compiler<'a> {
    options: &'a Options,
    /// The folder of sources, which has their hash in its name.
    sources: PathBuf,
    flags: Vec<&'static str>,
    /// What an object depends on beside its own text.
    key: String,
}

impl<'a> Compiler<'a> {
    fn new(options: &'a Options) -> Result<Self, Error> {
        let flags = flags(options.sanitizer);
        let version = version(&options.compiler)?;
        let headers: String = headers().iter().chain(shim()).map(|source| source.text).collect();
        let key = format!("{version}\n{flags:?}\n{headers}");
        let sources: String = modules().map(|module| module.source.text).collect();
        let sources = options.cache.join(hash(&format!("{headers}{sources}")));
        write_sources(&sources)?;
        Ok(Self { options, sources, flags, key })
    }

    /// Objects of the units, compiled on all cores.
    fn objects(&self, units: &[Unit]) -> Result<Vec<PathBuf>, Error> {
        let paths: Vec<_> = units.iter().map(|unit| self.object(unit)).collect();
        let next = Mutex::new(units.iter().zip(&paths));
        let work = || {
            loop {
                let item = next.lock().map_or(None, |mut next| next.next());
                let Some((unit, path)) = item else { return Ok(()) };
                self.compile(unit, path)?;
            }
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
        })?;
        Ok(paths)
    }

    fn object(&self, unit: &Unit) -> PathBuf {
        let source = modules().find(|module| module.name == unit.name);
        let source = source.map_or("", |module| module.source.text);
        self.cached(&format!("{}{}{source}", self.key, unit.text), "o")
    }

    fn compile(&self, unit: &Unit, object: &Path) -> Result<(), Error> {
        let text = object.with_extension("cpp");
        if !object.exists() {
            write(&text, &unit.text)?;
        }
        self.make(object, unit.name, |command, out| {
            command
                .args(&self.flags)
                .args(watch(unit, self.options.sanitizer))
                .arg("-I")
                .arg(&self.sources);
            command.arg("-c").arg(&text).arg("-o").arg(out);
        })
    }

    fn cached(&self, content: &str, extension: &str) -> PathBuf {
        self.options.cache.join(hash(content)).with_extension(extension)
    }

    /// Makes a file, unless it is there, under another name first: it appears whole.
    fn make(
        &self,
        path: &Path,
        file: &str,
        arguments: impl FnOnce(&mut Command, &Path),
    ) -> Result<(), Error> {
        if path.exists() {
            return Ok(());
        }
        let compiler = &self.options.compiler;
        let unfinished = unfinished(path);
        let mut command = run(compiler);
        arguments(&mut command, &unfinished);
        let output = command.output().map_err(|source| no_compiler(compiler, source))?;
        if !output.status.success() {
            let output = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::Compile { compiler: compiler.clone(), file: file.into(), output });
        }
        fs::rename(&unfinished, path).map_err(cache(path))
    }
}

/// The arithmetic is the text's: nothing is fused or reordered.
fn flags(sanitizer: Option<Sanitizer>) -> Vec<&'static str> {
    let mut flags =
        vec!["-std=c++17", "-O2", "-g1", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden"];
    flags.extend(["-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unknown-pragmas"]);
    // Every entry of a kernel has all its parameters.
    flags.push("-Wno-unused-parameter");
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") {
        flags.push("-mfma");
    }
    match sanitizer {
        Some(Sanitizer::Address) => flags.push("-DSHIM_ONE_BLOCK"),
        Some(Sanitizer::Thread) => flags.extend(["-DSHIM_ONE_BLOCK", "-DSHIM_RACES"]),
        None => {}
    }
    flags
}

/// What is watched: the kernels, and not the shim, whose threads only seem to be some.
fn watch(unit: &Unit, sanitizer: Option<Sanitizer>) -> Option<&'static str> {
    let is_kernel = modules().any(|module| module.name == unit.name);
    sanitizer.filter(|_| is_kernel).map(|sanitizer| match sanitizer {
        Sanitizer::Address => "-fsanitize=address",
        Sanitizer::Thread => "-fsanitize=thread",
    })
}

/// A sanitizer's runtime that is loaded for the kernels has no business in the compiler.
fn run(compiler: &str) -> Command {
    let mut command = Command::new(compiler);
    command.env_remove("LD_PRELOAD");
    command
}

fn version(compiler: &str) -> Result<String, Error> {
    let output = run(compiler).arg("--version").output();
    let output = output.map_err(|source| no_compiler(compiler, source))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn write_sources(folder: &Path) -> Result<(), Error> {
    let sources = headers().iter().chain(shim()).copied();
    for Source { path, text } in sources.chain(modules().map(|module| module.source)) {
        let path = folder.join(path);
        if !path.exists() {
            write(&path, text)?;
        }
    }
    Ok(())
}

/// Writes a file that appears whole.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(cache(folder))?;
    let unfinished = unfinished(path);
    fs::write(&unfinished, text).map_err(cache(&unfinished))?;
    fs::rename(&unfinished, path).map_err(cache(path))
}

/// What a file is called until it is whole: several threads and processes may make it at once.
fn unfinished(path: &Path) -> PathBuf {
    let (process, thread) = (std::process::id(), thread::current().id());
    path.with_extension(format!("{process}.{thread:?}.unfinished"))
}

fn cache(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    |source| Error::Cache { path, source }
}

fn no_compiler(compiler: &str, source: io::Error) -> Error {
    Error::NoCompiler { compiler: compiler.into(), source }
}

fn hash(content: &str) -> String {
    format!("{:032x}", xxh3_128(content.as_bytes()))
}
