//! The loaded library: what can be asked of it without a communicator.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{Error, Result, Status, UniqueId, Version, functions::Functions};

/// A loaded NCCL. Clones are the same library, which stays loaded until the process ends.
#[derive(Clone)]
pub struct Nccl {
    loaded: Arc<Loaded>,
}

struct Loaded {
    functions: Functions,
    library: PathBuf,
    version: Version,
}

impl Nccl {
    /// Loads the system's NCCL: `libnccl.so.2`, or else `libnccl.so`, where the loader looks for
    /// libraries (`LD_LIBRARY_PATH`, then the system's folders).
    ///
    /// # Errors
    /// [`Error::Load`] if there is none, and [`Error::MissingSymbol`] if it is older than 2.7.
    pub fn load() -> Result<Self> {
        let mut attempts = Vec::new();
        for name in NAMES {
            // SAFETY: by these names the system has NCCL; should another library go by them, then the
            // one who administers this system has put it there in NCCL's stead.
            match unsafe { Self::load_from(name) } {
                Err(Error::Load { attempts: failed }) => attempts.extend(failed),
                loaded => return loaded,
            }
        }
        Err(Error::Load { attempts })
    }

    /// Loads NCCL from a file, or by another name.
    ///
    /// # Safety
    /// The library must be NCCL, or one with the same interface: it is run, and what it has by the names
    /// of NCCL's functions is called with their types.
    ///
    /// # Errors
    /// [`Error::Load`] with the loader's words, and [`Error::MissingSymbol`] if it is older than 2.7.
    pub unsafe fn load_from(library: impl AsRef<Path>) -> Result<Self> {
        let library = library.as_ref();
        // SAFETY: as this function's.
        let functions = unsafe { Functions::load(library) }?;
        let version = functions.version()?;
        Ok(Self { loaded: Arc::new(Loaded { functions, library: library.to_owned(), version }) })
    }

    /// The library's version.
    pub fn version(&self) -> Version {
        self.loaded.version
    }

    /// The name or path that it was loaded by.
    pub fn library(&self) -> &Path {
        &self.loaded.library
    }

    /// A new communicator's name, for one rank to make and all to use. This process listens for the
    /// others from now on. It needs no GPU.
    pub fn unique_id(&self) -> Result<UniqueId> {
        let mut unique_id = UniqueId::from_bytes([0; UniqueId::BYTES]);
        let function = &self.functions().get_unique_id;
        // SAFETY: it writes an `ncclUniqueId`, which is 128 bytes.
        let code = unsafe { (function.call)(&mut unique_id) };
        self.check(function.name, code)?;
        Ok(unique_id)
    }

    /// Opens a group on this thread.
    pub(crate) fn start_group(&self) -> Result<Status> {
        let function = &self.functions().group_start;
        // SAFETY: it has no conditions.
        self.check(function.name, unsafe { (function.call)() })
    }

    /// Closes a group on this thread, and starts what was called in it.
    pub(crate) fn end_group(&self) -> Result<Status> {
        let function = &self.functions().group_end;
        // SAFETY: without an open group it returns an error. Who enqueued something in the group has
        // promised that it is valid until now.
        self.check(function.name, unsafe { (function.call)() })
    }

    pub(crate) fn functions(&self) -> &Functions {
        &self.loaded.functions
    }

    pub(crate) fn check(&self, function: &'static str, code: i32) -> Result<Status> {
        self.functions().check(function, code)
    }
}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loaded { library, version, .. } = &*self.loaded;
        write!(f, "Nccl({version} from {})", library.display())
    }
}

/// The name that NCCL 2 is installed by, and the one that it is linked by.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];
