//! Which device computes.

use std::{env, fmt, path::PathBuf, str::FromStr, sync::Arc};

use anyhow::Result;
use fp8lm_device::Device;
use fp8lm_host::HostKernels;
use fp8lm_sim::{Emulator, Options};

/// A device that can be named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The emulator.
    Cpu,
    /// The CUDA kernels on the CPU.
    Host,
}

impl Backend {
    /// Whether it is not the CPU.
    pub(crate) fn is_gpu(&self) -> bool {
        !matches!(self, Backend::Cpu | Backend::Host)
    }

    /// The device; `options` are for those on the CPU.
    pub(crate) fn open(&self, options: Options) -> Result<Arc<dyn Device>> {
        let emulator = Emulator::new(options);
        Ok(match self {
            Backend::Cpu => Arc::new(emulator),
            Backend::Host => Arc::new(HostKernels::with(emulator, &host_options())?),
        })
    }
}

/// How the kernels are compiled for the CPU.
pub(crate) fn host_options() -> fp8lm_host::Options {
    let default = fp8lm_host::Options::default();
    let cache = cache_folder().map(|folder| folder.join("host-kernels"));
    fp8lm_host::Options { cache: cache.unwrap_or(default.cache.clone()), ..default }
}

/// The user's folder for what can be made again.
fn cache_folder() -> Option<PathBuf> {
    let of = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")))?;
    Some(folder.join("fp8lm"))
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cpu" => Ok(Backend::Cpu),
            "host" => Ok(Backend::Host),
            _ => Err("expected cpu or host".into()),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Cpu => f.write_str("cpu"),
            Backend::Host => f.write_str("host"),
        }
    }
}
