//! A launch is data: a kernel's name and its arguments, in the order of the table of kernels.
//!
//! The same value is executed by a GPU, replayed by the emulator, recorded by a mock and priced
//! by a model of a cluster.

use crate::{Tensor, View};

/// One argument of a launch.
#[derive(Clone, Debug)]
pub enum Arg {
    /// Memory that the kernel reads.
    Read(View),
    /// Memory that the kernel writes whole, without reading it first.
    Write(View),
    /// Memory that the kernel reads and writes.
    Update(View),
    /// A 32-bit count, extent or choice.
    U32(u32),
    /// A 64-bit count.
    U64(u64),
    /// A number.
    F32(f32),
}

impl Arg {
    /// The memory behind the argument, if it is memory.
    pub fn view(&self) -> Option<&View> {
        match self {
            Arg::Read(view) | Arg::Write(view) | Arg::Update(view) => Some(view),
            Arg::U32(_) | Arg::U64(_) | Arg::F32(_) => None,
        }
    }

    /// Whether the kernel writes through the argument.
    pub fn is_written(&self) -> bool {
        matches!(self, Arg::Write(_) | Arg::Update(_))
    }
}

/// A kernel's name and its arguments.
#[derive(Clone, Debug)]
pub struct Launch {
    kernel: &'static str,
    args: Vec<Arg>,
}

impl Launch {
    /// A launch of `kernel` with no arguments yet.
    pub fn new(kernel: &'static str) -> Self {
        Self { kernel, args: Vec::new() }
    }

    /// The kernel's name in the table of kernels.
    pub fn kernel(&self) -> &'static str {
        self.kernel
    }

    /// The arguments, in order.
    pub fn args(&self) -> &[Arg] {
        &self.args
    }

    /// Appends a tensor that is read.
    pub fn read(self, tensor: &Tensor) -> Self {
        self.arg(Arg::Read(tensor.view().clone()))
    }

    /// Appends a tensor that is written.
    pub fn write(self, tensor: &Tensor) -> Self {
        self.arg(Arg::Write(tensor.view().clone()))
    }

    /// Appends a tensor that is read and written.
    pub fn update(self, tensor: &Tensor) -> Self {
        self.arg(Arg::Update(tensor.view().clone()))
    }

    /// Appends a number.
    pub fn f32(self, value: f32) -> Self {
        self.arg(Arg::F32(value))
    }

    /// Appends a 64-bit count.
    pub fn u64(self, value: u64) -> Self {
        self.arg(Arg::U64(value))
    }

    /// Appends a 32-bit choice.
    pub fn u32(self, value: u32) -> Self {
        self.arg(Arg::U32(value))
    }

    /// Appends an extent.
    ///
    /// # Panics
    /// If it does not fit 32 bits, which kernels index with.
    pub fn extent(self, value: usize) -> Self {
        self.u32(u32::try_from(value).expect("an extent fits 32 bits"))
    }

    fn arg(mut self, arg: Arg) -> Self {
        self.args.push(arg);
        self
    }
}
