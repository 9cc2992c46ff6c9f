//! Errors in ulp, special values, and the same bits on every instruction set.

use super::{exp, log, tanh, ulp::ulps};

/// Every 4,099th bit pattern: a million, over all binades, both signs and NaN.
fn assert_within(name: &str, bound: f64, f: fn(f32) -> f32, exact: fn(f64) -> f64) {
    for bits in (0..=u32::MAX).step_by(4099) {
        let x = f32::from_bits(bits);
        let (got, want) = (f(x), exact(f64::from(x)));
        let error = ulps(got, want);
        assert!(
            error <= bound,
            "{name}({x:e} = {bits:#010x}) = {got:e}, {error} ulp from {want:e}"
        );
    }
}

#[test]
fn errors_stay_within_what_all_inputs_gave() {
    assert_within("exp", 0.869_879, exp, f64::exp);
    assert_within("log", 0.873_513, log, f64::ln);
    assert_within("tanh", 2.418_843, tanh, f64::tanh);
}

fn assert_bits(name: &str, f: fn(f32) -> f32, cases: &[(f32, f32)]) {
    for &(x, want) in cases {
        let got = f(x);
        let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
        assert!(same, "{name}({x:e}) = {got:e} ({:#010x}), not {want:e}", got.to_bits());
    }
}

#[test]
fn exp_at_the_edges() {
    let inf = f32::INFINITY;
    let tiny = f32::from_bits(1);
    let last = f32::from_bits(0xC2CF_F1B4);
    assert_bits(
        "exp",
        exp,
        &[
            (0.0, 1.0),
            (-0.0, 1.0),
            (tiny, 1.0),
            (inf, inf),
            (-inf, 0.0),
            (f32::MAX, inf),
            (f32::MIN, 0.0),
            (88.722_84, inf),
            (last, tiny),
            (last.next_down(), 0.0),
            (f32::NAN, f32::NAN),
            (-f32::NAN, f32::NAN),
        ],
    );
}

#[test]
fn log_at_the_edges() {
    let inf = f32::INFINITY;
    assert_bits(
        "log",
        log,
        &[
            (1.0, 0.0),
            (0.0, -inf),
            (-0.0, -inf),
            (inf, inf),
            (-inf, f32::NAN),
            (-1.0, f32::NAN),
            (-f32::from_bits(1), f32::NAN),
            (f32::from_bits(1), -103.278_93),
            (f32::MIN_POSITIVE, -87.336_55),
            (f32::NAN, f32::NAN),
        ],
    );
}

#[test]
fn tanh_is_odd_and_saturates() {
    let tiny = f32::from_bits(1);
    assert_bits(
        "tanh",
        tanh,
        &[
            (0.0, 0.0),
            (-0.0, -0.0),
            (tiny, tiny),
            (-tiny, -tiny),
            (f32::INFINITY, 1.0),
            (-f32::INFINITY, -1.0),
            (f32::MAX, 1.0),
            (9.1, 1.0),
            (-9.1, -1.0),
            (f32::NAN, f32::NAN),
        ],
    );
    for bits in (0..0x7F80_0000).step_by(65_537) {
        let x = f32::from_bits(bits);
        assert_eq!(tanh(-x).to_bits(), (-tanh(x)).to_bits(), "x = {x:e}");
    }
}

#[test]
fn bits_are_those_of_every_instruction_set() {
    let x: Vec<f32> = (0..=u32::MAX).step_by(65_537).map(f32::from_bits).collect();
    let bits = |isa: crate::Isa| -> Vec<[u32; 3]> {
        let mut out = vec![[0; 3]; x.len()];
        isa.run(
            #[inline(always)]
            || {
                for (out, &x) in out.iter_mut().zip(&x) {
                    *out = [exp(x), log(x), tanh(x)].map(|y| crate::floats::canonical(y).to_bits());
                }
            },
        );
        out
    };
    let portable = bits(crate::Isa::portable());
    for isa in crate::Isa::available() {
        for ((x, got), want) in x.iter().zip(bits(isa)).zip(&portable) {
            assert_eq!(got, *want, "exp, log, tanh of {x:e}, {isa:?}");
        }
    }
}
