//! `fp8lm emulate`: files in, files out.

mod adamw;
mod all_reduce;
mod casts;
mod errors;
mod gemm;
mod list;
mod quantize;

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use bytemuck::NoUninit;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use tempfile::{TempDir, tempdir};

use crate::program::{fp8lm, succeed};

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn f32(&self) -> Vec<f32> {
        assert_eq!(self.dtype, Dtype::F32);
        bytemuck::pod_collect_to_vec(&self.bytes)
    }

    /// The bits of F16 or BF16.
    fn bits16(&self) -> Vec<u16> {
        assert!(matches!(self.dtype, Dtype::F16 | Dtype::BF16));
        bytemuck::pod_collect_to_vec(&self.bytes)
    }

    fn codes(&self) -> &[u8] {
        assert_eq!(self.dtype, Dtype::U8);
        &self.bytes
    }
}

fn stored<T: NoUninit>(dtype: Dtype, shape: &[usize], values: &[T]) -> Stored {
    Stored { dtype, shape: shape.to_vec(), bytes: bytemuck::cast_slice(values).to_vec() }
}

fn f32(shape: &[usize], values: &[f32]) -> Stored {
    stored(Dtype::F32, shape, values)
}

fn u8(shape: &[usize], values: &[u8]) -> Stored {
    stored(Dtype::U8, shape, values)
}

/// A folder for the files of some calls.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempdir().unwrap())
    }

    fn input(&self) -> PathBuf {
        self.0.path().join("in.safetensors")
    }

    fn output(&self) -> PathBuf {
        self.0.path().join("out.safetensors")
    }

    fn save(&self, tensors: &[(&str, &Stored)]) {
        fs::write(self.input(), file(tensors)).unwrap();
    }

    /// A call on tensors that were saved.
    fn call(&self, operation: &str, sets: &[&str]) -> Command {
        let mut command = fp8lm();
        command.args(["emulate", operation, "--in"]).arg(self.input());
        command.arg("--out").arg(self.output());
        command.args(sets.iter().flat_map(|set| ["--set", set]));
        command
    }

    /// What a call that says nothing leaves.
    fn result(&self, command: &mut Command) -> BTreeMap<String, Stored> {
        let output = succeed(command);
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
        parse(&fs::read(self.output()).unwrap())
    }
}

fn emulate(
    operation: &str,
    tensors: &[(&str, &Stored)],
    sets: &[&str],
) -> BTreeMap<String, Stored> {
    let files = Files::new();
    files.save(tensors);
    files.result(&mut files.call(operation, sets))
}

fn file(tensors: &[(&str, &Stored)]) -> Vec<u8> {
    let view = |tensor: &Stored| {
        let bytes: &'static [u8] = tensor.bytes.clone().leak();
        TensorView::new(tensor.dtype, tensor.shape.clone(), bytes).unwrap()
    };
    safetensors::serialize(tensors.iter().map(|(name, tensor)| (*name, view(tensor))), None)
        .unwrap()
}

fn parse(bytes: &[u8]) -> BTreeMap<String, Stored> {
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let tensors = tensors.iter().map(|(name, view)| {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        (name.to_owned(), Stored { dtype, shape, bytes: view.data().to_vec() })
    });
    tensors.collect()
}

/// Words without a pattern.
fn noise(seed: u64) -> impl Iterator<Item = u32> {
    (1u64..).map(move |index| {
        let mixed = (index ^ seed << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32) as u32
    })
}

/// Every instruction set and number of threads that a result must not depend on.
fn machines() -> Vec<[String; 4]> {
    let isas = fp8lm_sim::Isa::available().map(|isa| isa.name()).chain(["best"]);
    let pairs = isas.flat_map(|isa| [(isa, "1"), (isa, "2")]);
    pairs.map(|(isa, threads)| ["--isa", isa, "--threads", threads].map(String::from)).collect()
}
