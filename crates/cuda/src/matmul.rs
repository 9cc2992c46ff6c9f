//! Matrix products as cuBLASLt takes them: data, made of a launch alone.
//!
//! cuBLASLt reads matrices column by column, and the tensors of a launch lie row by row. The same bytes read the other
//! way are the transposed matrix, so what is computed is Dᵀ [n, m] = B [n, k] Aᵀ [k, m]: cuBLASLt's first matrix is our
//! b, its second our a, its M our n and its N our m.
//!
//! | ours, row by row | cuBLASLt's, column by column | operation |
//! |---|---|---|
//! | b [n, k] | first, k x n, leading dimension k | T |
//! | b [k, n] (`layout` bit 1) | first, n x k, leading dimension n | N |
//! | a [m, k] | second, k x m, leading dimension k | N |
//! | a [k, m] (`layout` bit 0) | second, m x k, leading dimension m | T |
//! | d [m, n] | C and D, n x m, leading dimension n | |
//!
//! Two operands contiguous in k are its "TN", the only form in which Hopper multiplies FP8.
//!
//! Factors of blocks: of 1 x 128 (VEC128), its M or N lies contiguous, one row of them for every 128 of k, so that
//! ours, [m, l] with l = ceil(k / 128), are turned to [l, m]; of 128 x 128 (BLK128x128), k lies contiguous, in rows
//! that begin at a multiple of 4, so that ours, [ceil(n / 128), l], are spread where l is not a multiple of 4.

use std::fmt;

use fp8lm_device::{DType, Error, Result};
use fp8lm_kernels::{Extents, Kernel};

#[cfg(test)]
mod tests;

/// A matrix product for cuBLASLt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatmulPlan {
    /// Its first matrix.
    pub a: Matrix,
    /// Its second matrix.
    pub b: Matrix,
    /// What it writes, and what it starts from.
    pub d: Matrix,
    /// Whether FP8 products are summed in one chain; otherwise every 128 of k starts a new one.
    pub fast_accumulation: bool,
    /// What multiplies the sum of products, and what d holds before.
    pub factor: Factor,
    /// Whether the sum starts from what d holds.
    pub from_d: bool,
    /// Length of the sums.
    pub k: u64,
}

/// A matrix, column by column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Matrix {
    /// The launch's argument that it is.
    pub arg: usize,
    /// The type of its elements.
    pub dtype: DType,
    /// Rows, as stored.
    pub rows: u64,
    /// Columns, as stored.
    pub cols: u64,
    /// Elements from a column to the next.
    pub ld: u64,
    /// Whether it is multiplied transposed.
    pub transposed: bool,
    /// What multiplies its elements.
    pub scale: Option<Scale>,
}

/// Factors of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scale {
    /// The launch's argument that they are.
    pub arg: usize,
    /// How many elements share one.
    pub mode: ScaleMode,
    /// How they come to lie as cuBLASLt wants them.
    pub lay: Lay,
}

/// How many elements share a factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleMode {
    /// All.
    Tensor,
    /// 128 in k.
    Vec128,
    /// 128 in k times 128 rows.
    Block128,
}

/// How factors come to lie as cuBLASLt wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lay {
    /// They do.
    AsTheyAre,
    /// Turned, from [rows, cols].
    Turned {
        /// Rows before.
        rows: u32,
        /// Columns before.
        cols: u32,
    },
    /// Rows of `cols` factors spread, to begin every `pitch`.
    Spread {
        /// Rows.
        rows: u32,
        /// Factors in a row.
        cols: u32,
        /// Factors from a row to the next.
        pitch: u32,
    },
}

/// What multiplies sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Factor {
    /// Nothing.
    One,
    /// The product of two numbers on the GPU, the launch's arguments. It multiplies what d held as well.
    Product(usize, usize),
}

impl MatmulPlan {
    /// The plan of a launch that was checked against the table; none if there is nothing to compute.
    ///
    /// # Errors
    /// If an argument has another length than the others say, or cuBLASLt does not take the shape or the types.
    pub fn new(kernel: &'static Kernel, extents: &Extents<'_>) -> Result<Option<Self>> {
        let (family, fast_accumulation) = match kernel.name {
            "gemm_wgmma" => (Family::Plain, true),
            "gemm_cublaslt" => (Family::Plain, false),
            "gemm_scaled_wgmma" => (Family::Scaled, true),
            "gemm_scaled_cublaslt" => (Family::Scaled, false),
            "gemm_block_wgmma" => (Family::Blocks, false),
            name => return Err(Error::UnknownKernel { kernel: name }),
        };
        let args = Args::new(family, extents);
        args.check_lengths()?;
        if args.m == 0 || args.n == 0 {
            return Ok(None);
        }
        args.check_shape()?;
        args.check_types()?;
        let is_fp8 = args.dtype(args.a).bytes() == 1;
        Ok(Some(args.plan(is_fp8 && fast_accumulation)))
    }
}

/// How a family of kernels lays out its arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    /// a, b, d, m, n, k, layout, from_d.
    Plain,
    /// a, its factor, b, its factor, d, m, n, k, from_d.
    Scaled,
    /// a, its factors, b, its factors, d, m, n, k, b_vectors, from_d.
    Blocks,
}

/// The arguments of a launch, and where they stand.
struct Args<'a> {
    family: Family,
    extents: &'a Extents<'a>,
    /// Positions.
    a: usize,
    b: usize,
    d: usize,
    /// That of m; n and k follow.
    first: usize,
    m: usize,
    n: usize,
    k: usize,
}

impl<'a> Args<'a> {
    fn new(family: Family, extents: &'a Extents<'a>) -> Self {
        let [a, b, d] = if family == Family::Plain { [0, 1, 2] } else { [0, 2, 4] };
        let first = d + 1;
        let [m, n, k] = [first, first + 1, first + 2].map(|index| extents.extent(index));
        Self { family, extents, a, b, d, first, m, n, k }
    }

    /// What the table does not say, in the order of the emulator.
    fn check_lengths(&self) -> Result<()> {
        let Self { extents, a, b, d, m, n, k, .. } = *self;
        self.check_choices()?;
        extents.expect_all(&[(a, m * k), (b, n * k)])?;
        match self.family {
            Family::Plain => {}
            Family::Scaled => extents.expect_all(&[(a + 1, 1), (b + 1, 1)])?,
            Family::Blocks => {
                let rows = n.div_ceil(self.b_vectors());
                extents.expect_all(&[(a + 1, m * self.blocks()), (b + 1, rows * self.blocks())])?;
            }
        }
        self.expect(self.last(), self.extents.extent(self.last()) <= 1, || "0 or 1".into())?;
        extents.expect(d, m * n)
    }

    fn check_choices(&self) -> Result<()> {
        let (index, value) = (self.first + 3, self.extents.extent(self.first + 3));
        match self.family {
            Family::Plain => {
                self.expect(index, value <= 3, || "a layout of two bits".into())?;
                let bytes = self.dtype(self.a).bytes();
                self.expect_type(self.b, self.dtype(self.b).bytes() == bytes, || {
                    format!("a type of {bytes} bytes, as a's")
                })
            }
            Family::Scaled => Ok(()),
            Family::Blocks => {
                self.expect(index, value == 1 || value == BLOCK, || format!("1 or {BLOCK}"))
            }
        }
    }

    /// What cuBLASLt takes: columns of FP8 begin at a multiple of 16 bytes.
    fn check_shape(&self) -> Result<()> {
        let (m, n, k) = (self.first, self.first + 1, self.first + 2);
        self.expect(k, self.k > 0, || "at least 1, for cuBLASLt".into())?;
        if self.dtype(self.a).bytes() > 1 {
            return Ok(());
        }
        for (index, value) in [(k, self.k), (n, self.n)] {
            self.expect(index, value.is_multiple_of(16), || {
                "a multiple of 16, for FP8 by cuBLASLt".into()
            })?;
        }
        let is_whole = self.family != Family::Blocks || self.m.is_multiple_of(4);
        self.expect(m, is_whole, || "a multiple of 4, for factors of blocks by cuBLASLt".into())?;
        let layout = if self.family == Family::Plain { self.layout() } else { 0 };
        self.expect(self.first + 3, layout == 0, || {
            "0 for FP8: cuBLASLt multiplies operands that are contiguous in k".into()
        })
    }

    fn check_types(&self) -> Result<()> {
        let [a, b, d] = [self.a, self.b, self.d].map(|index| self.dtype(index));
        let both_e5m2 = [a, b] == [DType::E5M2; 2];
        self.expect_type(self.b, !both_e5m2, || "e4m3 beside an `a` in e5m2, for cuBLASLt".into())?;
        let is_half = a.bytes() == 2;
        self.expect_type(self.b, !is_half || a == b, || format!("{a} as a, for cuBLASLt"))?;
        self.expect_type(self.d, (a, d) != (DType::F16, DType::BF16), || {
            "f32 for operands in f16, for cuBLASLt".into()
        })
    }

    fn plan(&self, fast_accumulation: bool) -> MatmulPlan {
        let [m, n, k] = [self.m, self.n, self.k].map(|extent| extent as u64);
        let layout = if self.family == Family::Plain { self.layout() } else { 0 };
        let from_d = self.extents.extent(self.last()) == 1;
        let is_product = self.family == Family::Scaled && from_d;
        let scales = if is_product { [None; 2] } else { self.scales() };
        let a = self.operand(self.b, n, k, layout & 2 == 0, scales[1]);
        let b = self.operand(self.a, m, k, layout & 1 == 0, scales[0]);
        MatmulPlan {
            a: Matrix { transposed: layout & 2 == 0, ..a },
            b: Matrix { transposed: layout & 1 != 0, ..b },
            d: self.operand(self.d, m, n, true, None),
            fast_accumulation,
            factor: if is_product { Factor::Product(self.a + 1, self.b + 1) } else { Factor::One },
            from_d,
            k,
        }
    }

    /// [rows, cols] row by row if `last` is contiguous, or else [cols, rows].
    fn operand(
        &self,
        arg: usize,
        rows: u64,
        last: u64,
        is_last: bool,
        scale: Option<Scale>,
    ) -> Matrix {
        let (ld, cols) = if is_last { (last, rows) } else { (rows, last) };
        Matrix { arg, dtype: self.dtype(arg), rows: ld, cols, ld, transposed: false, scale }
    }

    /// The factors of our a, and of our b.
    fn scales(&self) -> [Option<Scale>; 2] {
        let [a, b] = [self.a + 1, self.b + 1];
        match self.family {
            Family::Plain => [None; 2],
            Family::Scaled => {
                [a, b].map(|arg| Some(Scale { arg, mode: ScaleMode::Tensor, lay: Lay::AsTheyAre }))
            }
            Family::Blocks if self.b_vectors() == 1 => {
                [Some(self.vectors(a, self.m)), Some(self.vectors(b, self.n))]
            }
            Family::Blocks => [Some(self.vectors(a, self.m)), Some(self.squares(b))],
        }
    }

    fn vectors(&self, arg: usize, rows: usize) -> Scale {
        let (rows, cols) = (rows as u32, self.blocks() as u32);
        let lay = if rows == 1 || cols == 1 { Lay::AsTheyAre } else { Lay::Turned { rows, cols } };
        Scale { arg, mode: ScaleMode::Vec128, lay }
    }

    fn squares(&self, arg: usize) -> Scale {
        let (rows, cols) = (self.n.div_ceil(BLOCK) as u32, self.blocks() as u32);
        let pitch = cols.next_multiple_of(4);
        let lay = if pitch == cols { Lay::AsTheyAre } else { Lay::Spread { rows, cols, pitch } };
        Scale { arg, mode: ScaleMode::Block128, lay }
    }

    fn blocks(&self) -> usize {
        self.k.div_ceil(BLOCK)
    }

    fn layout(&self) -> usize {
        self.extents.extent(self.first + 3)
    }

    fn b_vectors(&self) -> usize {
        self.extents.extent(self.first + 3)
    }

    /// The position of `from_d`.
    fn last(&self) -> usize {
        self.first + if self.family == Family::Scaled { 3 } else { 4 }
    }

    fn dtype(&self, index: usize) -> DType {
        self.extents.dtype(index)
    }

    fn expect(&self, index: usize, holds: bool, expected: impl FnOnce() -> String) -> Result<()> {
        self.refuse(index, holds, expected, || self.extents.extent(index).to_string())
    }

    fn expect_type(
        &self,
        index: usize,
        holds: bool,
        expected: impl FnOnce() -> String,
    ) -> Result<()> {
        self.refuse(index, holds, expected, || self.dtype(index).to_string())
    }

    fn refuse(
        &self,
        index: usize,
        holds: bool,
        expected: impl FnOnce() -> String,
        got: impl FnOnce() -> String,
    ) -> Result<()> {
        if holds { Ok(()) } else { Err(self.extents.invalid(index, expected(), got())) }
    }
}

impl fmt::Display for MatmulPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { a, b, d, k, .. } = self;
        let operation = |matrix: &Matrix| if matrix.transposed { 'T' } else { 'N' };
        let (m, n) = (d.rows, d.cols);
        write!(f, "{}{} of {m} x {n} x {k}, ", operation(a), operation(b))?;
        write!(f, "{} by {} to {}", a.dtype, b.dtype, d.dtype)?;
        let modes = [a.scale, b.scale].map(|scale| scale.map(|scale| scale.mode));
        match modes {
            [Some(a), Some(b)] => write!(f, ", factors {a:?} and {b:?}"),
            _ => Ok(()),
        }
    }
}

/// Elements in k that share a factor.
const BLOCK: usize = 128;
