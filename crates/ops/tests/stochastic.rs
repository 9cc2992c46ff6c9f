//! Quantisation that rounds at random, bit by bit.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::DType;
use fp8lm_ops::{self as ops, Noise, Use};
use support::{
    TEST, assert_bits, assert_bytes, largest, normal, queues, rounded_bytes,
    stochastic::all_rounded_at_random, stored, tensor, widened, wild,
};

#[test]
fn codes_follow_seed_tensor_step_and_place() {
    let noise = Noise { seed: 0x1234_5678_9ABC_DEF0, tensor: 5, step: 7 };
    let stream = noise.stream(Use::Gradient);
    for (n, first) in [(1, 0), (129, 3), (8_193, 1 << 40), (20_001, 20_001)] {
        for x in [normal(1, n), wild(2, n), normal(3, n).iter().map(|x| x * 1e-3).collect()] {
            for (dtype, fp_max) in [(DType::E4M3, 448.0), (DType::E5M2, 57_344.0)] {
                for from in [DType::F32, DType::BF16] {
                    let x = stored(from, &x);
                    let scaled: Vec<f32> = x.iter().map(|x| x * 0.7).collect();
                    let rounded = all_rounded_at_random(dtype, &scaled, &stream, first);
                    let codes = rounded_bytes(dtype, &rounded);
                    let over = scaled.iter().filter(|z| z.abs() > fp_max).count();
                    let decoded = widened(dtype, &codes);
                    let zeros = x.iter().zip(&decoded).filter(|(x, y)| **x != 0.0 && **y == 0.0);
                    let counts = [over as u64, zeros.count() as u64];
                    for (device, queue) in queues() {
                        let name = format!("{device}: {from} to {dtype}, {n} from {first}");
                        let code = queue.alloc(dtype, n, TEST).unwrap();
                        let amax = queue.upload(&[0.0f32], 1, TEST).unwrap();
                        let counted = queue.upload(&[0u64, 0], 2, TEST).unwrap();
                        let scale = queue.upload(&[0.7f32], 1, TEST).unwrap();
                        let x_on = tensor(&queue, from, &x, n);
                        let words = (stream, first);
                        ops::quantize_stochastic(
                            &queue, &x_on, &scale, &code, &amax, &counted, words,
                        )
                        .unwrap();
                        assert_bytes(&name, &queue.download_bytes(&code).unwrap(), &codes);
                        assert_eq!(queue.download::<u64>(&counted).unwrap(), counts, "{name}");
                        let amax = queue.download::<f32>(&amax).unwrap();
                        assert_bits(&name, &amax, &[largest(&x)], 1);
                    }
                }
            }
        }
    }
}

#[test]
fn another_seed_tensor_step_or_use_draws_other_words() {
    let noise = Noise { seed: 1, tensor: 2, step: 3 };
    let word = |noise: Noise, purpose| noise.stream(purpose).word(0);
    let others = [
        word(Noise { seed: 2, ..noise }, Use::Gradient),
        word(Noise { tensor: 3, ..noise }, Use::Gradient),
        word(Noise { step: 4, ..noise }, Use::Gradient),
        word(noise, Use::Weight),
        noise.stream(Use::Gradient).word(1),
    ];
    assert!(!others.contains(&word(noise, Use::Gradient)));
}
