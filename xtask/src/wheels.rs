//! NVIDIA's compiler for CUDA and its NCCL, unpacked from the wheels that files of requirements pin: they need
//! neither a GPU nor an installed toolkit.

use std::{
    fmt,
    fs::{self, File},
    io::{ErrorKind, IsTerminal, stderr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{is_available, root, succeeds, target};

/// Wheels that together make one folder.
pub(crate) struct Wheels {
    /// The folder, beneath cargo's own for what it builds.
    name: &'static str,
    /// The file of requirements, beneath the root.
    path: &'static str,
    pub(crate) requirements: &'static str,
    /// Where the wheels have what we want.
    inner: &'static str,
    /// The folders of programs, which the wheels' unpacking leaves without leave to run.
    programs: &'static [&'static str],
}

/// The compiler, and the runtime compiler in `lib`.
pub(crate) const CUDA_13: Wheels = Wheels {
    name: "cuda",
    path: "xtask/cuda-requirements.txt",
    requirements: include_str!("../cuda-requirements.txt"),
    inner: "nvidia/cu13",
    programs: &["bin", "nvvm/bin"],
};

/// The runtime compiler of the version before, in `lib`.
pub(crate) const NVRTC_12: Wheels = Wheels {
    name: "cuda12",
    path: "xtask/nvrtc12-requirements.txt",
    requirements: include_str!("../nvrtc12-requirements.txt"),
    inner: "nvidia/cuda_nvrtc",
    programs: &[],
};

/// The library, in `lib`.
const NCCL: Wheels = Wheels {
    name: "nccl",
    path: "xtask/nccl-requirements.txt",
    requirements: include_str!("../nccl-requirements.txt"),
    inner: "nvidia/nccl",
    programs: &[],
};

/// The file of NCCL's library, fetched unless it is there.
pub(crate) fn nccl() -> Result<PathBuf> {
    let target = target()?;
    let _lock = lock(&target)?;
    Ok(NCCL.fetch(&target)?.join("lib/libnccl.so.2"))
}

/// Keeps others from fetching or compiling into the same folders, until it is dropped.
pub(crate) fn lock(target: &Path) -> Result<File> {
    let path = target.join("cuda.lock");
    let lock = fs::create_dir_all(target).and_then(|()| File::create(&path));
    let lock = lock.and_then(|file| file.lock().map(|()| file));
    lock.with_context(|| format!("cannot lock {}", path.display()))
}

/// Why nothing can be fetched on this machine.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) &'static str);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NVIDIA's packages cannot be fetched: {}", self.0)
    }
}

impl std::error::Error for Missing {}

impl Wheels {
    /// Its folder, fetched unless it is there as pinned. What is fetched half stays beside it and is begun again.
    pub(crate) fn fetch(&self, target: &Path) -> Result<PathBuf> {
        let folder = target.join(self.name);
        if fs::read_to_string(folder.join(PINS)).is_ok_and(|pins| pins == self.requirements) {
            return Ok(folder);
        }
        let partial = target.join(format!("{}.partial", self.name));
        remove(&partial)?;
        self.download(&partial)?;
        self.unpack(&partial)?;
        remove(&folder)?;
        let inner = partial.join(self.inner);
        fs::rename(inner, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
        remove(&partial)?;
        Ok(folder)
    }

    fn download(&self, wheels: &Path) -> Result<()> {
        require_pip()?;
        if stderr().is_terminal() {
            eprintln!("fetching what {} pins", self.path);
        }
        let mut pip = Command::new(PYTHON);
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]);
        pip.args(["--disable-pip-version-check", "--retries", "2", "--requirement"]);
        pip.arg(root().join(self.path)).arg("--dest").arg(wheels);
        let output = pip.stdin(Stdio::null()).output().context("cannot run pip")?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        eprint!("{message}");
        ensure!(!is_tampered(&message), "the packages are not those that {} pins", self.path);
        bail!(Missing("pip does not reach its packages"))
    }

    fn unpack(&self, partial: &Path) -> Result<()> {
        for entry in fs::read_dir(partial)? {
            let wheel = entry?.path();
            let mut unzip = Command::new(PYTHON);
            unzip.args(["-m", "zipfile", "--extract"]).arg(&wheel).arg(partial);
            ensure!(succeeds(&mut unzip)?, "cannot unpack {}", wheel.display());
        }
        let inner = partial.join(self.inner);
        if !self.programs.is_empty() {
            let mut chmod = Command::new("chmod");
            chmod.args(["-R", "+x"]).args(self.programs).current_dir(&inner);
            ensure!(succeeds(&mut chmod)?, "cannot make the programs executable");
        }
        let pins = inner.join(PINS);
        fs::write(&pins, self.requirements).with_context(|| format!("no {}", pins.display()))
    }
}

fn require_pip() -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!(Missing("its packages are pinned for Linux on x86-64"));
    }
    if !is_available(Command::new(PYTHON).arg("--version")) {
        bail!(Missing("python3 is missing"));
    }
    if !is_available(Command::new(PYTHON).args(["-m", "pip", "--version"])) {
        bail!(Missing("python3 has no pip"));
    }
    Ok(())
}

/// Whether pip refused a package for its hash, and not for want of a network.
fn is_tampered(message: &str) -> bool {
    message.to_lowercase().contains("do not match the hashes")
}

/// Removes a folder, if there is one.
fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

const PYTHON: &str = "python3";
/// Written last into a folder: the requirements that it was made by.
const PINS: &str = "requirements.txt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_hash_is_told_from_a_missing_network() {
        assert!(is_tampered(
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have \
             updated the package versions, please update the hashes.\n    nvidia-cuda-crt==13.0.88:\n"
        ));
        assert!(!is_tampered(
            "ERROR: Could not find a version that satisfies the requirement nvidia-cuda-crt==13.0.88 \
             (from versions: none)\nERROR: No matching distribution found\n"
        ));
    }

    #[test]
    fn the_requirements_pin_versions_and_hashes() {
        for Wheels { path, requirements, .. } in [CUDA_13, NVRTC_12, NCCL] {
            let packages: Vec<_> =
                requirements.lines().filter(|line| line.starts_with("nvidia-")).collect();
            assert!(!packages.is_empty(), "{path} names no package");
            for package in packages {
                assert!(package.contains("==") && package.contains(" --hash=sha256:"), "{package}");
            }
            assert!(requirements.contains("\n--require-hashes\n"), "{path} needs no hashes");
        }
    }

    #[test]
    fn what_is_there_as_pinned_is_not_fetched_again() {
        let target = tempfile::tempdir().expect("a folder");
        let folder = target.path().join("cuda");
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join(PINS), CUDA_13.requirements).expect("a file");
        assert_eq!(CUDA_13.fetch(target.path()).expect("it is there"), folder);
    }
}
