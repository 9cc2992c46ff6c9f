//! Arguments in memory as device code takes them, and the C++ that hands them over on a CPU.
//!
//! Memory is a `View` of `view.cuh`: address, elements, type. Every argument begins at a multiple of 8 bytes.

use fp8lm_device::{Arg, Launch};

use crate::{Code, Kernel, Kind};

/// The arguments of a launch, one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// 8 bytes at a time, so that they lie as aligned as device code expects.
    words: Vec<u64>,
    /// Where each argument begins, in bytes.
    offsets: Vec<usize>,
}

impl Packed {
    /// The arguments of a launch. `addresses` has one for every argument, and that of a number does not matter;
    /// `scratch` is that of the working memory, if the kernel asks for some.
    pub fn new(launch: &Launch, addresses: &[u64], scratch: Option<u64>) -> Self {
        let mut packed = Self::default();
        for (arg, address) in launch.args().iter().zip(addresses) {
            packed.push(arg, *address);
        }
        if let Some(address) = scratch {
            packed.append(&[address]);
        }
        packed
    }

    /// The arguments of the form of an entry that takes several launches: where their own arguments lie, where the
    /// numbers of their first blocks, and how many there are.
    pub(crate) fn many(launches: u64, first_blocks: u64, count: u32) -> Self {
        let mut packed = Self::default();
        [launches, first_blocks, count.into()].into_iter().for_each(|word| packed.append(&[word]));
        packed
    }

    /// All of them, 8 bytes at a time.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// The first byte.
    pub fn as_ptr(&self) -> *const u8 {
        self.words.as_ptr().cast()
    }

    /// Where each argument begins, in bytes.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    fn push(&mut self, arg: &Arg, address: u64) {
        match arg {
            Arg::Read(view) | Arg::Write(view) | Arg::Update(view) => {
                self.append(&[address, view.elements() as u64, view.dtype() as u64]);
            }
            Arg::U32(value) => self.append(&[u64::from(*value)]),
            Arg::U64(value) => self.append(&[*value]),
            Arg::F32(value) => self.append(&[u64::from(value.to_bits())]),
        }
    }

    fn append(&mut self, words: &[u64]) {
        self.offsets.push(self.words.len() * 8);
        self.words.extend_from_slice(words);
    }
}

/// C++ that calls the entries of `kernels` on a CPU: for each a function `host_` and its name, which takes packed
/// arguments, the extents of grid and block, and the blocks to run.
pub fn host_entries(kernels: &[Kernel]) -> String {
    let mut text = String::new();
    for kernel in kernels {
        let Code::Cuda(cuda) = &kernel.code else { continue };
        let types: Vec<_> = parameters(kernel, cuda.scratch.is_some()).map(|(ty, _)| ty).collect();
        let entries = cuda.entries.iter().map(|entry| host_entry(entry.name, &types));
        let many = kernel.many().into_iter().flatten().map(|name| host_entry(name, &MANY));
        text.extend(entries.chain(many));
    }
    text
}

fn host_entry(name: &str, types: &[&str]) -> String {
    let mut arguments = Vec::new();
    let mut offset = 0;
    for ty in types {
        arguments.push(format!("*reinterpret_cast<{ty} const*>(args + {offset})"));
        offset += if *ty == "View" { 24 } else { 8 };
    }
    format!(
        "extern \"C\" __attribute__((visibility(\"default\"))) void host_{name}(\n    \
         const u8* args, u32 grid, u32 block, u32 first, u32 last) {{\n    \
         shim_run([](const u8* args) {{ {name}({}); }}, args, grid, block, first, last);\n}}\n",
        arguments.join(", ")
    )
}

/// The types of what [`Packed::many`] packs.
const MANY: [&str; 3] = ["const u8*", "const u32*", "u32"];

/// The parameters of a kernel's entries, as types and names of C++.
pub(crate) fn parameters(
    kernel: &Kernel,
    scratch: bool,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let params = kernel.params.iter().map(|param| {
        let ty = match param.kind {
            Kind::Read(_) | Kind::Write(_) | Kind::Update(_) => "View",
            Kind::U32 => "u32",
            Kind::U64 => "u64",
            Kind::F32 => "f32",
        };
        (ty, param.name)
    });
    params.chain(scratch.then_some(("void*", "scratch")))
}
