//! Quantisation that rounds up or down at random.

use fp8lm_device::{
    DType,
    DType::{BF16, E4M3, E5M2, F32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for n in [0, 1, 3, 8, 9, 2051, 8193] {
            for (from, code) in [(F32, E4M3), (BF16, E4M3), (F32, E5M2), (BF16, E5M2)] {
                let start = Start { seed: 0x1234_5678_9ABC_DEF0 + n as u64, first: n as u64 % 5 };
                cases.push(cast(
                    format!("{values}, {n}"),
                    values.data(from, n, 1),
                    37.5,
                    code,
                    start,
                ));
            }
        }
    }
    cases.extend(limits());
    cases.extend(FIRST.map(|first| {
        let x = Values::Ordinary.data(F32, 50, 2);
        cast(format!("from element {first}"), x, 3e-3, E4M3, Start { seed: u64::MAX, first })
    }));
    let whole = || cast("9".into(), Values::Ordinary.data(F32, 9, 3), 1.0, E4M3, PLAIN);
    cases.extend((0..5).map(|index| whole().resized(index, 3)));
    cases
}

/// Which words round.
struct Start {
    seed: u64,
    first: u64,
}

const PLAIN: Start = Start { seed: 0, first: 0 };

/// Every place in a block of four words, and beyond 32 bits.
const FIRST: [u64; 7] = [1, 2, 3, 4, 0xFFFF_FFFF, 0x3_FFFF_FFFE, 0x1234_5678_9ABC];

fn cast(about: String, x: Data, scale: f32, code: DType, start: Start) -> Case {
    let n = x.bytes.len() / x.dtype.bytes();
    let case =
        Case::new("quantize_stochastic", format!("{about}, {} to {code} by {scale}", x.dtype));
    let case = case.read(x).read(Data::of(&[scale])).write(code, n).update(Data::of(&[0.75f32]));
    let case = case.update(Data::of(&[5u64, 6])).u64(start.seed).u32(7).u32(0xFFFF_FFF3);
    case.u64(start.first)
}

/// The ends of the formats, each many times over.
fn limits() -> Vec<Case> {
    let ends = [
        448.0,
        460.0,
        57_344.0,
        61_000.0,
        2f32.powi(-10),
        2f32.powi(-17),
        2f32.powi(-22),
        f32::INFINITY,
    ];
    let values: Vec<f32> = ends.into_iter().chain([0.0, f32::NAN]).cycle().take(800).collect();
    let cases = [E4M3, E5M2].map(|code| {
        [1.0, -1.0, 0.999, 0.0, f32::INFINITY, f32::NAN]
            .map(|scale| cast("limits".into(), Data::of(&values), scale, code, PLAIN))
    });
    cases.into_iter().flatten().collect()
}
