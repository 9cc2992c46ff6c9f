//! The compiled kernels, loaded.

use std::{collections::HashMap, path::Path};

use fp8lm_kernels::{Kernel, table};
use libloading::Library;

use crate::Error;

/// Runs blocks `first` to `last` of a grid, with packed arguments.
pub(crate) type HostEntry =
    unsafe extern "C" fn(args: *const u8, grid: u32, block: u32, first: u32, last: u32);

/// Every function of the table, by name.
#[derive(Debug)]
pub(crate) struct Entries {
    entries: HashMap<&'static str, HostEntry>,
    /// The functions are its own.
    _library: Library,
}

impl Entries {
    /// Loads a library that [`compile`](crate::compile) made.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Load { path: path.to_owned(), source };
        // SAFETY: it was compiled from the project's sources, which run nothing when they are loaded.
        let library = unsafe { Library::new(path) }.map_err(failed)?;
        let mut entries = HashMap::new();
        for name in table().flat_map(Kernel::functions) {
            // SAFETY: `abi::host_entries` gives every entry a function of this name and type.
            let entry = unsafe { library.get::<HostEntry>(format!("host_{name}")) };
            entries.insert(name, *entry.map_err(failed)?);
        }
        Ok(Self { entries, _library: library })
    }

    pub(crate) fn get(&self, name: &str) -> Option<HostEntry> {
        self.entries.get(name).copied()
    }
}
