//! What can go wrong before the first launch.

use std::{io, path::PathBuf};

/// Why the kernels cannot be had on this machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The C++ compiler cannot be started.
    #[error("cannot run the C++ compiler `{compiler}`: {source}")]
    NoCompiler {
        /// What was called.
        compiler: String,
        /// What the system said.
        source: io::Error,
    },
    /// The compiler refuses a file.
    #[error("`{compiler}` does not compile {file}:\n{output}")]
    Compile {
        /// What was called.
        compiler: String,
        /// The file.
        file: String,
        /// What it printed.
        output: String,
    },
    /// A file of the cache cannot be read or written.
    #[error("{}: {source}", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was compiled cannot be loaded.
    #[error("{}: {source}", path.display())]
    Load {
        /// The library.
        path: PathBuf,
        /// What the loader said.
        source: libloading::Error,
    },
}
