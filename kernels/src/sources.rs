//! The texts that device code is compiled from.

use crate::{Kernel, families};

/// A file under `kernels/`.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its path there, as other files include it.
    pub path: &'static str,
    /// What it holds.
    pub text: &'static str,
}

/// The device code of a family of kernels.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// The family's name.
    pub name: &'static str,
    /// Its file.
    pub source: Source,
    /// Its kernels.
    pub kernels: &'static [Kernel],
}

/// Every family that has device code.
pub fn modules() -> impl Iterator<Item = Module> {
    families::ALL.iter().filter_map(|(name, kernels)| {
        let path = |source: &&Source| source.path.strip_suffix(".cu") == Some(name);
        let source = *SOURCES.iter().find(path)?;
        Some(Module { name, source, kernels })
    })
}

/// What the files of [`modules`] include.
pub fn headers() -> &'static [Source] {
    HEADERS
}

/// What runs device code on a CPU.
pub fn shim() -> &'static [Source] {
    SHIM
}

macro_rules! sources {
    ($($path:literal),* $(,)?) => {
        &[$(Source { path: $path, text: include_str!(concat!("../", $path)) }),*]
    };
}

const SOURCES: &[Source] = sources![
    "activation.cu",
    "adamw.cu",
    "attention.cu",
    "blocks.cu",
    "cast.cu",
    "cross_entropy.cu",
    "embedding.cu",
    "gemm.cu",
    "gradient.cu",
    "groups.cu",
    "norm.cu",
    "quantize.cu",
    "ranks.cu",
    "reduce.cu",
    "rope.cu",
    "scale.cu",
    "stochastic.cu",
];

const HEADERS: &[Source] = sources![
    "adamw.cuh",
    "amax.cuh",
    "attention.cuh",
    "columns.cuh",
    "cuda.cuh",
    "e5m6.cuh",
    "expansion.cuh",
    "factor.cuh",
    "gemm.cuh",
    "many.cuh",
    "math.cuh",
    "philox.cuh",
    "ptx/arith.cuh",
    "ptx/bytes.cuh",
    "ptx/convert.cuh",
    "ptx/memory.cuh",
    "ptx/shuffle.cuh",
    "reduce.cuh",
    "rows.cuh",
    "stochastic.cuh",
    "tally.cuh",
    "turn.cuh",
    "view.cuh",
];

const SHIM: &[Source] = sources!["shim/cuda.hpp", "shim/fibers.cpp", "shim/races.hpp"];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use fp8lm_device::DType;

    use super::*;
    use crate::{Code, abi::parameters};

    #[test]
    fn every_file_is_listed() {
        let listed: BTreeSet<_> =
            [SOURCES, HEADERS, SHIM].concat().iter().map(|source| source.path.to_owned()).collect();
        let mut found = BTreeSet::new();
        for folder in ["", "ptx/", "shim/"] {
            let entries = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            for entry in fs::read_dir(entries).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if [".cu", ".cuh", ".cpp", ".hpp"].iter().any(|end| name.ends_with(end)) {
                    found.insert(format!("{folder}{name}"));
                }
            }
        }
        assert_eq!(listed, found);
    }

    #[test]
    fn entries_are_declared_as_the_table_says() {
        for module in modules() {
            for kernel in module.kernels {
                let Code::Cuda(cuda) = &kernel.code else { continue };
                for entry in cuda.entries {
                    let parameters = parameters(kernel, cuda.scratch.is_some());
                    let parameters = parameters.map(|(ty, name)| format!("{ty} {name}"));
                    let parameters = parameters.collect::<Vec<_>>().join(", ");
                    expect_declared(&module, entry.block, entry.name, &parameters);
                }
                for (entry, name) in cuda.entries.iter().zip(kernel.many().unwrap_or_default()) {
                    expect_declared(&module, entry.block, name, MANY);
                }
            }
        }
    }

    fn expect_declared(module: &Module, block: u32, name: &str, parameters: &str) {
        let declaration =
            format!("extern \"C\" __global__ void __launch_bounds__({block}) {name}({parameters})");
        let text = module.source.text.split_whitespace().collect::<Vec<_>>().join(" ");
        // Beside the threads of a block may stand how many blocks a multiprocessor is to hold.
        let text = (1..=8).fold(text, |text, blocks| {
            text.replace(&format!(", {blocks}) {name}("), &format!(") {name}("))
        });
        assert!(text.contains(&declaration), "{} lacks {declaration}", module.source.path);
    }

    const MANY: &str =
        "const u8* __restrict__ launches, const u32* __restrict__ first_blocks, u32 count";

    #[test]
    fn an_entry_takes_several_launches_where_all_of_its_kernel_do() {
        for (name, many) in crate::families::MANY {
            let kernel = crate::find(name).unwrap();
            let Code::Cuda(cuda) = &kernel.code else { panic!("`{name}` has no device code") };
            let names: Vec<_> = cuda.entries.iter().map(|e| format!("{}_many", e.name)).collect();
            assert_eq!(*many, names);
        }
    }

    #[test]
    fn every_entry_of_a_file_is_in_the_table() {
        for module in modules() {
            let entries = module.kernels.iter().flat_map(Kernel::functions).count();
            let declared = module.source.text.matches("__global__").count();
            assert_eq!(entries, declared, "{}", module.source.path);
        }
    }

    #[test]
    fn types_are_numbered_as_in_the_header() {
        let names = DType::ALL.map(|dtype| format!("{dtype:?}")).join(", ");
        let header = HEADERS.iter().find(|source| source.path == "view.cuh").unwrap();
        assert!(header.text.contains(&format!("enum DType : u32 {{ {names} }};")), "{names}");
    }
}
