//! Quantisation in blocks of neighbours that share a factor.

use fp8lm_device::{DType, Launch, Queue, Result, Shape, Tensor};

use crate::expect;

/// Which elements of a matrix share a factor. The last blocks of a matrix may be smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blocks {
    /// 128 neighbours in a row.
    Tile,
    /// 128 rows of 128.
    Block,
    /// 32 neighbours in a row.
    Mx,
}

impl Blocks {
    /// The shape of the factors beside a tensor of this shape, read as a matrix.
    pub fn scale_shape(self, shape: Shape) -> Shape {
        let [height, width] = match self {
            Self::Tile => [1, 128],
            Self::Block => [128, 128],
            Self::Mx => [1, 32],
        };
        [shape.rows().div_ceil(height), shape.cols().div_ceil(width)].into()
    }

    fn takes(self, rule: BlockRule) -> bool {
        match rule {
            BlockRule::Exact | BlockRule::Ue8m0 => self != Self::Mx,
            BlockRule::Ocp | BlockRule::Up => self == Self::Mx,
        }
    }
}

/// How a block's factor follows from its largest finite magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockRule {
    /// That over the format's maximum, at least 1e-4 over it: for tiles and blocks.
    Exact,
    /// The same, rounded up to a power of two: for tiles and blocks.
    Ue8m0,
    /// The OCP rule for MX, by exponents alone; the largest elements may saturate.
    Ocp,
    /// The largest over the format's maximum, rounded up to a power of two: for MX.
    Up,
}

impl BlockRule {
    /// The number of the rule in launches.
    fn code(self) -> u32 {
        match self {
            Self::Exact => 1,
            Self::Ue8m0 => 2,
            Self::Ocp => 3,
            Self::Up => 4,
        }
    }
}

/// How a matrix is cast in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockCast {
    /// What shares a factor.
    pub blocks: Blocks,
    /// How it is chosen.
    pub rule: BlockRule,
    /// Whether elements are divided by it, or multiplied by its rounded reciprocal. The same for
    /// powers of two.
    pub divide: bool,
}

/// code = x over the factors of its blocks, rounded to nearest-even and saturated, and scale_inv =
/// those factors: kernels `quantize_tile`, `quantize_block` and `quantize_mx`.
///
/// x is F32 or BF16, read as a matrix, code E4M3 or E5M2 of x's shape, scale_inv F32 of
/// [`Blocks::scale_shape`], or E8M0 under rules that give powers of two. amax `[1]` grows to the largest
/// magnitude of x; counts `[2]` (U64) grow by the elements that rounding took beyond the format's
/// maximum and by those that became 0.
///
/// # Errors
/// If shapes differ, or if the rule is not one for these blocks or this type of scale_inv.
pub fn quantize_blocks(
    queue: &Queue,
    x: &Tensor,
    cast: BlockCast,
    code: &Tensor,
    scale_inv: &Tensor,
    amax: &Tensor,
    counts: &Tensor,
) -> Result<()> {
    let operation = "quantize_blocks";
    let BlockCast { blocks, rule, divide } = cast;
    expect::shape(operation, "code", code, x.shape())?;
    expect_factors(operation, blocks, rule, x.shape(), scale_inv)?;
    expect::elements(operation, "amax", amax, 1)?;
    expect::elements(operation, "counts", counts, 2)?;
    let kernel = match blocks {
        Blocks::Tile => "quantize_tile",
        Blocks::Block => "quantize_block",
        Blocks::Mx => "quantize_mx",
    };
    let launch = Launch::new(kernel).read(x).write(code).write(scale_inv);
    let launch = launch.update(amax).update(counts).extent(x.rows()).extent(x.cols());
    queue.launch(launch.u32(rule.code()).u32(divide.into()))
}

/// code_t [cols, rows] = x [rows, cols] in tiles of 128 rows of one column, and scale_inv_t [cols,
/// ceil(rows / 128)] = their factors: kernel `quantize_tile_transpose`.
///
/// x is F32 or BF16, code_t E4M3 or E5M2, scale_inv_t F32, or E8M0 under [`BlockRule::Ue8m0`].
///
/// # Errors
/// If shapes differ, or if the rule is not one for tiles or this type of scale_inv_t.
pub fn quantize_tile_transpose(
    queue: &Queue,
    x: &Tensor,
    rule: BlockRule,
    code_t: &Tensor,
    scale_inv_t: &Tensor,
) -> Result<()> {
    let operation = "quantize_tile_transpose";
    let (rows, cols) = (x.rows(), x.cols());
    expect::shape(operation, "code_t", code_t, [cols, rows])?;
    expect_factors(operation, Blocks::Tile, rule, code_t.shape(), scale_inv_t)?;
    let launch = Launch::new(operation).read(x).write(code_t).write(scale_inv_t);
    queue.launch(launch.extent(rows).extent(cols).u32(rule.code()))
}

/// y = code times the factors of its blocks, rounded once in f32 and once to y's type: kernels
/// `dequantize_tile`, `dequantize_block` and `dequantize_mx`.
///
/// code is E4M3 or E5M2, scale_inv F32 or E8M0 of [`Blocks::scale_shape`], y F32 or BF16 of code's
/// shape.
pub fn dequantize_blocks(
    queue: &Queue,
    code: &Tensor,
    scale_inv: &Tensor,
    blocks: Blocks,
    y: &Tensor,
) -> Result<()> {
    let operation = "dequantize_blocks";
    expect::shape(operation, "scale_inv", scale_inv, blocks.scale_shape(code.shape()))?;
    expect::shape(operation, "y", y, code.shape())?;
    let kernel = match blocks {
        Blocks::Tile => "dequantize_tile",
        Blocks::Block => "dequantize_block",
        Blocks::Mx => "dequantize_mx",
    };
    let launch = Launch::new(kernel).read(code).read(scale_inv).write(y);
    queue.launch(launch.extent(code.rows()).extent(code.cols()))
}

/// code = x in tiles in E5M6, packed: kernel `quantize_e5m6`.
///
/// x is F32 or BF16, read as a matrix [rows, cols], code U8 [rows, ceil(3 cols / 2)], scale_inv F32 or
/// E8M0 [rows, ceil(cols / 128)]: powers of two.
pub fn quantize_e5m6(queue: &Queue, x: &Tensor, code: &Tensor, scale_inv: &Tensor) -> Result<()> {
    let operation = "quantize_e5m6";
    expect::shape(operation, "code", code, packed_shape(x.shape()))?;
    expect_factors(operation, Blocks::Tile, BlockRule::Ue8m0, x.shape(), scale_inv)?;
    let launch = Launch::new(operation).read(x).write(code).write(scale_inv);
    queue.launch(launch.extent(x.rows()).extent(x.cols()))
}

/// y = what the codes of [`quantize_e5m6`] stand for, rounded to y's type: kernel `dequantize_e5m6`.
///
/// y is F32 or BF16.
pub fn dequantize_e5m6(queue: &Queue, code: &Tensor, scale_inv: &Tensor, y: &Tensor) -> Result<()> {
    let operation = "dequantize_e5m6";
    expect::shape(operation, "code", code, packed_shape(y.shape()))?;
    expect::shape(operation, "scale_inv", scale_inv, Blocks::Tile.scale_shape(y.shape()))?;
    let launch = Launch::new(operation).read(code).read(scale_inv).write(y);
    queue.launch(launch.extent(y.rows()).extent(y.cols()))
}

/// The bytes of a matrix in E5M6, row by row.
pub fn packed_shape(shape: Shape) -> Shape {
    [shape.rows(), (3 * shape.cols()).div_ceil(2)].into()
}

fn expect_factors(
    operation: &'static str,
    blocks: Blocks,
    rule: BlockRule,
    shape: Shape,
    scale_inv: &Tensor,
) -> Result<()> {
    let name = "scale_inv";
    expect::shape(operation, name, scale_inv, blocks.scale_shape(shape))?;
    expect::that(blocks.takes(rule), operation, name, scale_inv, || {
        format!("of another rule than {rule:?}, which is not for {blocks:?}")
    })?;
    let holds = scale_inv.dtype() != DType::E8M0 || rule != BlockRule::Exact;
    expect::that(holds, operation, name, scale_inv, || "f32, for factors of any value".into())
}
