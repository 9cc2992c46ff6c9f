//! The table of kernels: a [`Kernel`] has a name, [`Param`]s and a numeric [`Contract`].
//!
//! A [`Launch`](fp8lm_device::Launch) is positional, so this table is what gives its arguments
//! meaning. `fp8lm-ops` builds launches, devices look them up, and [`check`] holds the one
//! against the other. Every kernel stands in the file of its family under `families/`; the
//! emulator keeps its twin in a file of the same name.
//!
//! ```
//! let kernel = fp8lm_kernels::find("rms_norm").expect("a kernel of the table");
//! assert_eq!(kernel.params[0].name, "x");
//! ```
//!
//! Limits: the table knows kinds, types and overlap of arguments. Shapes are checked where
//! launches are built.

pub mod abi;
mod check;
mod code;
mod families;
mod kernel;
mod many;
mod sources;

pub use check::check;
pub use code::{Code, Cuda, Entry, Extents};
pub use kernel::{Contract, Kernel, Kind, Param};
pub use many::{Call, Pack, Part, Run, runs};
pub use sources::{Module, Source, headers, modules, shim};

/// Every kernel, family by family.
pub fn table() -> impl Iterator<Item = &'static Kernel> {
    families::ALL.iter().flat_map(|(_, kernels)| kernels.iter())
}

/// The kernel of that name.
pub fn find(name: &str) -> Option<&'static Kernel> {
    table().find(|kernel| kernel.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        let mut names = HashSet::new();
        for kernel in super::table() {
            assert!(
                names.insert(kernel.name),
                "kernel `{}` stands twice in the table",
                kernel.name
            );
        }
    }

    #[test]
    fn every_kernel_writes_something() {
        for kernel in super::table() {
            let writes = kernel.params.iter().any(|param| param.kind.is_written());
            assert!(writes, "kernel `{}` has no effect", kernel.name);
        }
    }
}
