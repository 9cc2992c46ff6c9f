//! How a kernel runs on a GPU: its entry points, their grids, what must hold of its arguments.

use fp8lm_device::{Arg, DType, Error, Launch, Result};

use crate::Kernel;

/// Where a kernel's device code comes from.
#[derive(Debug)]
pub enum Code {
    /// From the file of its family under `kernels/`.
    Cuda(Cuda),
    /// From a library of matrix routines, which takes its launches whole.
    Library,
}

/// The device code of one kernel.
#[derive(Debug)]
pub struct Cuda {
    /// What is launched, one after another, each with all parameters of the kernel.
    pub entries: &'static [Entry],
    /// What must hold of the arguments beside their kinds and types: lengths, choices.
    pub check: fn(&Extents<'_>) -> Result<()>,
    /// Bytes of working memory; if some are asked for, entries take its address as their last parameter.
    pub scratch: Option<fn(&Extents<'_>) -> usize>,
}

/// A function of device code, `extern "C" __global__`.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Threads in a block.
    pub block: u32,
    /// Blocks; where there are none, nothing is launched.
    pub grid: fn(&Extents<'_>) -> usize,
}

/// The arguments of a launch that was checked against the table.
#[derive(Clone, Copy, Debug)]
pub struct Extents<'a> {
    kernel: &'static Kernel,
    launch: &'a Launch,
}

impl<'a> Extents<'a> {
    /// The arguments of `launch`, which [`check`](crate::check) has found to be one of `kernel`.
    pub fn new(kernel: &'static Kernel, launch: &'a Launch) -> Self {
        Self { kernel, launch }
    }

    /// Elements of argument `index`.
    pub fn elements(&self, index: usize) -> usize {
        self.arg(index).view().map_or(0, |view| view.elements())
    }

    /// The type of argument `index`.
    pub fn dtype(&self, index: usize) -> DType {
        self.arg(index).view().map_or(DType::U8, |view| view.dtype())
    }

    /// The extent or choice at `index`.
    pub fn extent(&self, index: usize) -> usize {
        match self.arg(index) {
            Arg::U32(value) => *value as usize,
            _ => 0,
        }
    }

    /// The number at `index`.
    pub fn f32(&self, index: usize) -> f32 {
        match self.arg(index) {
            Arg::F32(value) => *value,
            _ => 0.0,
        }
    }

    /// Refuses an argument of another length.
    pub fn expect(&self, index: usize, elements: usize) -> Result<()> {
        let got = self.elements(index);
        if got == elements {
            return Ok(());
        }
        Err(self.invalid(index, format!("{elements} elements"), got.to_string()))
    }

    /// Refuses arguments of another length than is paired with their number.
    pub fn expect_all(&self, lengths: &[(usize, usize)]) -> Result<()> {
        lengths.iter().try_for_each(|(index, elements)| self.expect(*index, *elements))
    }

    /// The error of an argument whose value does not fit.
    pub fn invalid(&self, index: usize, expected: String, got: String) -> Error {
        let name = self.kernel.params[index].name;
        Error::Argument { kernel: self.kernel.name, index, name, expected, got }
    }

    fn arg(&self, index: usize) -> &'a Arg {
        &self.launch.args()[index]
    }
}

/// The blocks that take `elements` elements, a group of eight a thread.
pub(crate) const fn groups(elements: usize) -> usize {
    elements.div_ceil(GROUP * BLOCK as usize)
}

/// The blocks that take `rows` rows of `cols` elements, a thread a group of eight that lie in one row.
pub(crate) const fn row_groups(rows: usize, cols: usize) -> usize {
    (rows * cols.div_ceil(GROUP)).div_ceil(BLOCK as usize)
}

/// The blocks that take `rows` rows, one at a time.
pub(crate) fn rows(rows: usize) -> usize {
    rows.min(i32::MAX as usize)
}

/// The blocks that take `elements` elements, where a thread takes four groups before its block tells of them.
pub(crate) const fn rounds(elements: usize) -> usize {
    groups(elements).div_ceil(ROUNDS)
}

/// The blocks that transpose bytes, a tile of 64 x 64 each.
pub(crate) const fn turned_tiles(rows: usize, cols: usize) -> usize {
    rows.div_ceil(TURNED) * cols.div_ceil(TURNED)
}

/// Threads in a block where nothing asks for another number.
pub(crate) const BLOCK: u32 = 256;
/// Elements that a thread takes at a time, as in `view.cuh`.
pub(crate) const GROUP: usize = 8;
/// Groups that a thread takes, as in kernels that tell of tensors.
pub(crate) const ROUNDS: usize = 4;
/// Rows and columns of a tile, as in `turn.cuh`.
const TURNED: usize = 64;
