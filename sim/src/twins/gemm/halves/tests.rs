//! Steps of a tile against the definition of one output, from any accumulator.

use fp8lm_device::DType;
use half::{bf16, f16};

use super::*;
use crate::{mma::Mma, twins::gemm::operand::Stored};

#[test]
fn every_step_is_the_definition() {
    for (kind, code) in CODES {
        for types in TYPES {
            for (start, accumulator) in ACCUMULATORS {
                for seed in 0..3 {
                    let mut random = Random(seed + 1);
                    let a = std::array::from_fn(|_| code(random.next(), types[0]));
                    let b = std::array::from_fn(|_| code(random.next(), types[1]));
                    let c = std::array::from_fn(|_| accumulator(random.next()));
                    let case = Case { types, a, b, c };
                    case.check(&format!("{kind} {types:?} from {start}, seed {seed}"));
                }
            }
        }
    }
}

const TYPES: [[DType; 2]; 4] = [
    [DType::BF16, DType::BF16],
    [DType::BF16, DType::F16],
    [DType::F16, DType::BF16],
    [DType::F16, DType::F16],
];

/// A code of a type from random bits.
type Code = fn(u64, DType) -> u16;
type Accumulator = fn(u64) -> f32;

const CODES: [(&str, Code); 7] = [
    ("any", |bits, _| bits as u16),
    ("finite", |bits, _| bits as u16 & 0xBFFF | (bits >> 16) as u16 & 0x2000),
    ("subnormal", |bits, dtype| bits as u16 & if dtype == DType::BF16 { 0x807F } else { 0x83FF }),
    ("of few exponents", |bits, dtype| {
        let [keep, set] = if dtype == DType::BF16 { [0x81FF, 0x3E00] } else { [0x8FFF, 0x3000] };
        bits as u16 & keep | set
    }),
    ("with a large one in 20", |bits, _| {
        bits as u16 & 0x9FFF | if (bits >> 16).is_multiple_of(20) { 0x4000 } else { 0 }
    }),
    ("large", |bits, _| bits as u16 & 0xBFFF | 0x4000),
    ("zero", |bits, _| bits as u16 & 0x8000),
];

const ACCUMULATORS: [(&str, Accumulator); 6] = [
    ("+0", |_| 0.0),
    ("-0", |_| -0.0),
    ("any", |bits| f32::from_bits(bits as u32)),
    ("subnormal", |bits| f32::from_bits(bits as u32 & 0x807F_FFFF)),
    ("2^-27 to 2^36", |bits| f32::from_bits((bits as u32 & 0x9FFF_FFFF) + (100 << 23))),
    ("2^-7 to 2^8", |bits| f32::from_bits((bits as u32 & 0x87FF_FFFF) + (120 << 23))),
];

struct Random(u64);

impl Random {
    /// The upper bits of a linear congruential generator.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        self.0 >> 24
    }
}

struct Case {
    types: [DType; 2],
    /// Codes of four vectors of 16.
    a: [u16; ROWS * PRODUCTS],
    b: [u16; COLS * PRODUCTS],
    c: [f32; ROWS * COLS],
}

impl Case {
    fn check(&self, name: &str) {
        let want = self.want();
        for isa in Isa::available() {
            let got = self.got(isa);
            for (index, (got, want)) in got.iter().zip(&want).enumerate() {
                let at = [index / COLS, index % COLS];
                let bits = [got, want].map(|x| x.to_bits());
                assert_eq!(bits[0], bits[1], "{name}, {at:?} on {}: {got:e}, {want:e}", isa.name());
            }
        }
    }

    fn got(&self, isa: Isa) -> [f32; ROWS * COLS] {
        let chain = Halves::new(isa);
        let mut rows = [Rows::zeroed(); PRODUCTS];
        let mut cols = [Cols::zeroed(); PRODUCTS];
        let mut tile = Tile(bytemuck::cast(self.c));
        let (a, b) = (operand(self.types[0], &self.a), operand(self.types[1], &self.b));
        chain.pack_a(&a, 0..ROWS, 0..PRODUCTS, &mut rows);
        chain.pack_b(&b, 0..COLS, 0..PRODUCTS, &mut cols);
        isa.run(
            #[inline(always)]
            || chain.add(Place { row: 0, col: 0, k: 0 }, &rows, &cols, &mut tile),
        );
        bytemuck::cast(tile.0)
    }

    fn want(&self) -> [f32; ROWS * COLS] {
        let mma = Mma::new(self.types[0], self.types[1]).unwrap();
        let [a, b] = [widened(self.types[0], &self.a), widened(self.types[1], &self.b)];
        std::array::from_fn(|index| {
            let (a, b) = (
                &a[index / COLS * PRODUCTS..][..PRODUCTS],
                &b[index % COLS * PRODUCTS..][..PRODUCTS],
            );
            mma.step(a, b, self.c[index])
        })
    }
}

fn operand(dtype: DType, codes: &[u16]) -> Operand<'_> {
    let stored = match dtype {
        DType::BF16 => Stored::BF16(bytemuck::cast_slice(codes)),
        _ => Stored::F16(bytemuck::cast_slice(codes)),
    };
    Operand::k_last(stored, PRODUCTS)
}

fn widened(dtype: DType, codes: &[u16]) -> Vec<f32> {
    let widen = |code: &u16| match dtype {
        DType::BF16 => bf16::from_bits(*code).to_f32(),
        _ => f16::from_bits(*code).to_f32(),
    };
    codes.iter().map(widen).collect()
}
