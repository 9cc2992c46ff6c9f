//! Steps worked by hand. 2^-13 is the last bit kept beside a term of exponent 0.

use super::*;

const E4M3: DType = DType::E4M3;
const E5M2: DType = DType::E5M2;
const BF16: DType = DType::BF16;
const F16: DType = DType::F16;

fn two(exponent: i32) -> f32 {
    2f32.powi(exponent)
}

/// One step of operands of these types.
fn step(types: [DType; 2], products: &[[f32; 2]], c: f32) -> f32 {
    let (a, b): (Vec<f32>, Vec<f32>) = products.iter().map(|[a, b]| (*a, *b)).unzip();
    Mma::new(types[0], types[1]).unwrap().step(&a, &b, c)
}

#[track_caller]
fn assert_step(types: [DType; 2], products: &[[f32; 2]], c: f32, want: f32) {
    let got = step(types, products, c);
    let bits = [got, want].map(f32::to_bits);
    assert_eq!(bits[0], bits[1], "{types:?} {products:?} + {c:e}: got {got:e}, want {want:e}");
}

/// 1.875 * 1.875 = 3.515625 = 11.100001 in binary has exponent 0, not 1, since significands are not
/// normalised: so E = 0, and beside it 2^-7 * 1.5 * 2^-6 = 1.5 * 2^-13 is cut to 2^-13. Had E been
/// 1, it would be gone. The sum, 3.515625 + 2^-13 = 1.7578125 * 2 + 2^-13, has its own exponent 1
/// and keeps 13 fraction bits of it, down to 2^-12: the 2^-13 is cut off after the sum.
/// Against -1.875 * 1.875 as well, it stands alone, and shows that it had been 2^-13.
#[test]
fn products_are_aligned_before_they_are_normalised() {
    let small = [1.5 * two(-6), two(-7)];
    assert_step([E4M3; 2], &[[1.875, 1.875], small], 0.0, 3.515625);
    assert_step([E4M3; 2], &[[1.875, 1.875], small, [-1.875, 1.875]], 0.0, two(-13));
}

/// Toward zero on magnitude: -1.5 * 2^-13 becomes -2^-13, not -2^-12, as floor would have it; and
/// thirty terms of 0.75 * 2^-13, which are 22.5 * 2^-13 together, become nothing.
#[test]
fn every_term_is_cut_toward_zero_by_itself() {
    let pair = [[1.0, 1.0], [-1.0, 1.0]];
    let small = [-1.5 * two(-6), two(-7)];
    assert_step([E5M2; 2], &[pair[0], pair[1], small], 0.0, -two(-13));
    let mut products = vec![[1.5 * two(-7), two(-7)]; 30];
    assert_step([E5M2; 2], &products, 0.0, 45.0 * two(-14));
    products.extend(pair);
    assert_step([E5M2; 2], &products, 0.0, 0.0);
}

/// 2^-9 is subnormal in E4M3: 0.125 * 2^-6. Its square is 2^-6 * 2^-12 with the exponent -12, so a
/// C of 1.5 * 2^-25 beside it keeps 2^-25; E would be -18 were the operands normalised, and C whole.
/// In E5M2 2^-9 is normal, and so it is.
#[test]
fn subnormal_operands_keep_the_exponent_of_the_smallest_normal() {
    let tiny = [two(-9), two(-9)];
    let cancelled = [tiny, [-tiny[0], tiny[1]]];
    let c = 1.5 * two(-25);
    assert_step([E4M3; 2], &cancelled, c, two(-25));
    assert_step([E4M3, E5M2], &cancelled, c, c);
    assert_step([E5M2; 2], &cancelled, c, c);
}

/// C counts with its own exponent: 2^14 of C leaves 2 as the unit, so 3 becomes 2, and 1 nothing.
/// Zero operands count for nothing: 448 * 0 leaves E at -12, the exponent of the other product.
/// C itself has 13 fraction bits left: 1 + 2^-14 becomes 1.
#[test]
fn the_accumulator_is_one_more_term() {
    assert_step([E4M3; 2], &[[1.5, 2.0], [1.0, 1.0]], two(14), two(14) + 2.0);
    let products = [[448.0, 0.0], [two(-6), two(-6)], [-two(-6), two(-6)]];
    assert_step([E4M3; 2], &products, two(-25), two(-25));
    assert_step([E4M3; 2], &[[0.0, 1.0]], 1.0 + two(-14), 1.0);
}

/// Results keep multiples of 2^-139 below the smallest normal f32; zero is +0.
#[test]
fn results_that_vanish() {
    assert_step([E4M3; 2], &[], 1.5 * two(-139), two(-139));
    assert_step([E4M3; 2], &[], -two(-140), 0.0);
    assert_step([E4M3; 2], &[[-0.0, 1.0]], -0.0, 0.0);
    assert_step([E4M3; 2], &[[1.0, 1.0], [-1.0, 1.0]], 0.0, 0.0);
    assert_step([BF16; 2], &[[two(-75), two(-75)]], 0.0, 0.0);
    assert_step([BF16; 2], &[[1.5 * two(-75), two(-74)]], 0.0, two(-149));
}

/// 25 bits below a term of exponent 0 is 2^-25, which a result near 1 cannot hold, as it has 23, but
/// the terms add up before they are cut: two of 2^-24 make 2^-23, two of 2^-26 make nothing.
#[test]
fn sixteen_bit_operands_have_more_room() {
    for types in [[BF16; 2], [F16; 2]] {
        let small = |exponent| [two(-12), two(exponent + 12)];
        let one = [1.0, 1.0];
        assert_step(types, &[one, small(-24)], 0.0, 1.0);
        assert_step(types, &[one, small(-24), small(-24)], 0.0, 1.0 + two(-23));
        assert_step(types, &[one, small(-26), small(-26), [-1.0, 1.0]], 0.0, 0.0);
        assert_step(types, &[one, small(-25), [-1.0, 1.0]], 0.0, two(-25));
    }
    assert_step([BF16; 2], &[[two(127), 2.0]], 0.0, f32::INFINITY);
    assert_step([BF16; 2], &[[-two(127), 2.0]], two(127), -two(127));
}

#[test]
fn nan_and_infinity_are_those_of_the_exact_sum() {
    const INF: f32 = f32::INFINITY;
    let nan = f32::from_bits(0x7FFF_FFFF);
    let types = [E5M2; 2];
    assert_step(types, &[[1.0, -INF]], 5.0, -INF);
    assert_step(types, &[[1.0, 1.0]], INF, INF);
    for products in [[[INF, 0.0], [1.0, 1.0]], [[INF, 1.0], [-INF, 1.0]], [[1.0, 1.0], [-nan, 1.0]]]
    {
        assert_step(types, &products, 0.0, nan);
    }
    assert_step(types, &[[INF, 1.0]], -INF, nan);
}

/// A chain carries what the steps before left, and with it their exponent; a promoted one starts
/// anew every 128 steps of k, and only the f32 sum is large.
#[test]
fn chains_pass_the_result_on_and_promotion_starts_anew() {
    let mma = Mma::new(E4M3, E4M3).unwrap();
    let (a, b) = (vec![1.0; 200], vec![1.0; 200]);
    assert_eq!(mma.chain(&a, &b, 0.5), 200.5);
    assert_eq!(mma.promoted(&a, &b, 0.0, |block| [1.0, 0.5][block]), 128.0 + 36.0);
    // 2^13 in the first step; from the second on the unit is 1, where 0.5 is nothing.
    let mut a = vec![0.0; 256];
    a[0] = 128.0;
    a[32..].fill(0.5);
    let mut b = vec![1.0; 256];
    b[0] = 64.0;
    assert_eq!(mma.chain(&a, &b, 0.0), 8192.0);
    assert_eq!(mma.promoted(&a, &b, 0.0, |_| 1.0), 8192.0 + 64.0);
    assert_eq!(mma.promoted(&a, &b, 0.5, |_| 1.0), 8192.0 + 64.0 + 0.5);
}

#[test]
fn types_that_hopper_does_not_multiply_have_no_machine() {
    for types in [[E4M3, BF16], [F16, E5M2], [DType::F32, DType::F32], [BF16, DType::F32]] {
        assert_eq!(Mma::new(types[0], types[1]), None, "{types:?}");
    }
}
