//! Numbers for ranks.

use fp8lm_device::DType;
use fp8lm_formats::{E4M3, E5M2};
use half::{bf16, f16};

/// A third of the elements are any bits, the others numbers of moderate size, different for each seed.
pub(crate) fn bytes(dtype: DType, elements: usize, seed: usize) -> Vec<u8> {
    (0..elements)
        .flat_map(|index| element(dtype, hash((seed * 1_000_003 + index) as u64)))
        .collect()
}

fn element(dtype: DType, random: u64) -> Vec<u8> {
    let x = (random >> 40) as i32 as f32 / 16_777_216.0 * 8.0 - 4.0;
    match dtype {
        _ if random.is_multiple_of(3) => random.to_le_bytes()[..dtype.bytes()].to_vec(),
        DType::F32 => x.to_le_bytes().to_vec(),
        DType::BF16 => bf16::from_f32(x).to_le_bytes().to_vec(),
        DType::F16 => f16::from_f32(x).to_le_bytes().to_vec(),
        DType::E4M3 => vec![E4M3::from_f32_saturating(x).to_bits()],
        DType::E5M2 => vec![E5M2::from_f32_saturating(x).to_bits()],
        _ => random.to_le_bytes()[..dtype.bytes()].to_vec(),
    }
}

fn hash(x: u64) -> u64 {
    let mut x = x.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
