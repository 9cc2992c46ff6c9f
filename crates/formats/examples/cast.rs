//! Casts a few numbers to both FP8 formats with one scale per slice and shows what each cast costs.
//!
//! `cargo run -p fp8lm-formats --example cast`

#![allow(clippy::print_stdout, reason = "an example shows its results")]

use fp8lm_formats::layout::{E4M3, E5M2, Layout};
use fp8lm_formats::{Fp8, Overflow};

fn main() {
    let x = [0.0137, -1.5, 2.6, -0.0002, 3.1, 12.0, -7.77, 0.25];
    report::<E4M3>(&x);
    report::<E5M2>(&x);
}

/// Scales the largest magnitude to the largest value of the format, casts, and casts back.
fn report<L: Layout>(x: &[f32]) {
    let amax = x.iter().fold(0.0, |amax: f32, x| amax.max(x.abs()));
    let scale = Fp8::<L>::MAX_F32 / amax;

    let mut codes = vec![Fp8::<L>::ZERO; x.len()];
    Fp8::encode_slice(x, scale, &mut codes, Overflow::Saturate);
    let mut decoded = vec![0.0; x.len()];
    Fp8::decode_slice(&codes, scale.recip(), &mut decoded);

    println!("{}: scale {scale}, {} bytes instead of {}", L::NAME, codes.len(), size_of_val(x));
    for ((x, code), y) in x.iter().zip(&codes).zip(&decoded) {
        println!(
            "{x:>10} -> {:#04x} -> {y:>12.6}  ({:+.1} %)",
            code.to_bits(),
            100.0 * (y - x) / x
        );
    }
}
