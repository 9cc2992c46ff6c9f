//! Steps of a tile against the definition of one output, from any accumulator.

use fp8lm_device::DType;
use fp8lm_formats::{E4M3, E5M2};

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
    [DType::E4M3, DType::E4M3],
    [DType::E4M3, DType::E5M2],
    [DType::E5M2, DType::E4M3],
    [DType::E5M2, DType::E5M2],
];

/// A code of a type from random bits.
type Code = fn(u64, DType) -> u8;
type Accumulator = fn(u64) -> f32;

const CODES: [(&str, Code); 6] = [
    ("any", |bits, _| bits as u8),
    ("finite", |bits, _| if bits & 0x7C == 0x7C { 0x80 } else { bits as u8 }),
    ("subnormal", |bits, dtype| bits as u8 & if dtype == DType::E4M3 { 0x87 } else { 0x83 }),
    ("of few exponents", |bits, _| bits as u8 & 0x8F | 0x30),
    ("with a large one in 20", |bits, _| {
        bits as u8 & 0x9F | if (bits >> 8).is_multiple_of(20) { 0x60 } else { 0 }
    }),
    ("zero", |bits, _| bits as u8 & 0x80),
];

const ACCUMULATORS: [(&str, Accumulator); 6] = [
    ("+0", |_| 0.0),
    ("-0", |_| -0.0),
    ("any", |bits| f32::from_bits(bits as u32)),
    ("subnormal", |bits| f32::from_bits(bits as u32 & 0x800F_FFFF)),
    ("2^-27 to 2^36", |bits| f32::from_bits((bits as u32 & 0x9FFF_FFFF) + (100 << 23))),
    ("a result", |bits| f32::from_bits((bits as u32 & 0x87FF_FC00) + (120 << 23))),
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
    /// Codes of four vectors of 32.
    a: [u8; ROWS * STEPS],
    b: [u8; COLS * STEPS],
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
        let chain = Fp8::new(isa);
        let mut rows = Rows::zeroed();
        let mut cols = Cols::zeroed();
        let mut tile = Tile(bytemuck::cast(self.c));
        let (a, b) = (operand(self.types[0], &self.a), operand(self.types[1], &self.b));
        chain.pack_a(&a, 0..ROWS, 0..STEPS, std::slice::from_mut(&mut rows));
        chain.pack_b(&b, 0..COLS, 0..STEPS, std::slice::from_mut(&mut cols));
        isa.run(
            #[inline(always)]
            || chain.step(&rows, &cols, &mut tile),
        );
        bytemuck::cast(tile.0)
    }

    fn want(&self) -> [f32; ROWS * COLS] {
        let mma = Mma::new(self.types[0], self.types[1]).unwrap();
        let [a, b] = [widened(self.types[0], &self.a), widened(self.types[1], &self.b)];
        std::array::from_fn(|index| {
            let (a, b) = (&a[index / COLS * STEPS..][..STEPS], &b[index % COLS * STEPS..][..STEPS]);
            mma.step(a, b, self.c[index])
        })
    }
}

fn operand(dtype: DType, codes: &[u8]) -> Operand<'_> {
    let stored = match dtype {
        DType::E4M3 => Stored::E4M3(bytemuck::cast_slice(codes)),
        _ => Stored::E5M2(bytemuck::cast_slice(codes)),
    };
    Operand::k_last(stored, STEPS)
}

fn widened(dtype: DType, codes: &[u8]) -> Vec<f32> {
    let widen = |code: &u8| match dtype {
        DType::E4M3 => E4M3::from_bits(*code).to_f32(),
        _ => E5M2::from_bits(*code).to_f32(),
    };
    codes.iter().map(widen).collect()
}
