//! Philox and stochastic rounding.

use crate::grid::{Described, MODES, assert_code, power_of_two};
use fp8lm_formats::layout;
use fp8lm_formats::philox::{StochasticStream, Use, philox4x32_10};
use fp8lm_formats::{E4M3, E4M3Fnuz, E5M2, Fp8, Isa, Overflow};

/// The known answers that come with Random123.
#[test]
fn philox_gives_the_known_answers() {
    let digits_of_pi =
        ([0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344], [0xA409_3822, 0x299F_31D0]);
    for ((counter, key), want) in [
        (([0; 4], [0; 2]), [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]),
        (([u32::MAX; 4], [u32::MAX; 2]), [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]),
        (digits_of_pi, [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1]),
    ] {
        assert_eq!(philox4x32_10(counter, key), want, "counter {counter:08x?}, key {key:08x?}");
    }
}

#[test]
fn words_are_addressed_by_seed_tensor_draw_and_index() {
    let draw = StochasticStream::draw(3, Use::SecondMoment);
    assert_eq!(draw, 26);
    let stream = StochasticStream { seed: 0x1122_3344_5566_7788, tensor: 9, draw };
    let index = (5 << 34) + 4 * 7 + 2;
    let block = philox4x32_10([7, 5, 9, 26], [0x5566_7788, 0x1122_3344]);
    assert_eq!(stream.word(index), block[2]);
    for start in index..index + 4 {
        let words: Vec<_> = stream.words(start).take(9).collect();
        let want: Vec<_> = (start..start + 9).map(|index| stream.word(index)).collect();
        assert_eq!(words, want, "from {start}");
    }
}

#[test]
fn many_words_at_once_are_those_one_by_one() {
    let stream = StochasticStream { seed: 0x1122_3344_5566_7788, tensor: 9, draw: 26 };
    for isa in Isa::available() {
        for (start, len) in [(0, 64), (1, 2), (3, 200), (6, 61), (u64::from(u32::MAX) * 4, 130)] {
            let mut words = vec![0; len];
            isa.run(|| stream.fill(start, &mut words));
            let want: Vec<_> = stream.words(start).take(len).collect();
            assert_eq!(words, want, "{len} from {start} on {}", isa.name());
        }
    }
}

/// Unbiased, exactly: `x` rounds up if and only if `random >= 2^32 * (1 - p)`, `p` its place between its neighbours,
/// so `2^32 * p` of the `2^32` words round up. Below 2^-8 of a step the last of the 24 bits of `x` is 2^-32 of the
/// step or less: those always round down.
fn check<L: Described>(x: f32, random: u32) {
    let abs = f64::from(x.abs());
    let (below, above) = L::GRID.neighbours(abs);
    let (low, step) =
        (L::GRID.magnitude(below), L::GRID.magnitude(above) - L::GRID.magnitude(below));
    let place = ((abs - low) / step).min(1.0);
    let threshold = power_of_two(32) * (1.0 - place);
    let fits = abs >= step / 256.0;
    let first_up = threshold as u32;
    for random in [random, 0, u32::MAX, first_up.saturating_sub(1), first_up] {
        let up = fits && f64::from(random) >= threshold;
        for overflow in MODES {
            let want = L::GRID.finish(x.into(), if up { above } else { below }, overflow);
            assert_code(
                Fp8::<L>::from_f32_stochastic(x, random, overflow),
                want,
                x.into(),
                overflow,
            );
        }
    }
}

fn check_all_layouts(x: f32, random: u32) {
    check::<layout::E4M3>(x, random);
    check::<layout::E5M2>(x, random);
    check::<layout::E4M3Fnuz>(x, random);
    check::<layout::E5M2Fnuz>(x, random);
}

#[test]
fn rounding_up_is_as_likely_as_it_should_be() {
    let mut words = StochasticStream { seed: 13, tensor: 0, draw: 0 }.words(0);
    for _ in 0..if cfg!(miri) { 50 } else { 100_000 } {
        let bits = words.by_ref().take(2).collect::<Vec<_>>();
        check_all_layouts(f32::from_bits(bits[0]), bits[1]);
        check_all_layouts(
            f32::from_bits(bits[0] & 0x807F_FFFF | (97 + (bits[0] >> 23) % 50) << 23),
            bits[1],
        );
    }
    for x in [
        0.0,
        -0.0,
        f32::from_bits(1),
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        448.0,
        464.0,
        480.0,
    ] {
        check_all_layouts(x, 1 << 31);
    }
}

#[test]
fn edge_cases_by_hand() {
    let code = |x: f32, random| E4M3::from_f32_stochastic(x, random, Overflow::Saturate).to_bits();
    // 17 is the middle of 16 (0x58) and 18; an exact value stays whatever the word.
    assert_eq!(
        [code(17.0, (1 << 31) - 1), code(17.0, 1 << 31), code(16.0, u32::MAX)],
        [0x58, 0x59, 0x58]
    );
    // 2^-17 loses 31 bits and can still become the smallest subnormal 2^-9; 2^-18 loses 32 and cannot.
    assert_eq!(
        [code(power_of_two(-17) as f32, u32::MAX), code(power_of_two(-18) as f32, u32::MAX)],
        [1, 0]
    );
    // Underflow keeps the sign, except where zero has none.
    assert_eq!(
        [code(-power_of_two(-12) as f32, 0), code(-f32::from_bits(1), u32::MAX)],
        [0x80, 0x80]
    );
    assert_eq!(
        E4M3Fnuz::from_f32_stochastic(-power_of_two(-12) as f32, 0, Overflow::Saturate).to_bits(),
        0
    );
    // Between the largest value and the step after it.
    let code =
        |x: f32, random| E5M2::from_f32_stochastic(x, random, Overflow::NonSaturate).to_bits();
    assert_eq!(
        [code(61440.0, 0), code(61440.0, 1 << 31), code(-61440.0, 1 << 31)],
        [0x7B, 0x7C, 0xFC]
    );
    assert_eq!([code(-f32::NAN, 5), code(f32::INFINITY, 0)], [0x7F, 0x7C]);
}
