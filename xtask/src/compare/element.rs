//! One element of a stored tensor, for people.

use fp8lm_formats::{E4M3, E4M3Fnuz, E5M2, E5M2Fnuz, E8M0};
use half::{bf16, f16};
use safetensors::Dtype;

/// The coordinate of element `index` of a row-major tensor.
pub(super) fn coordinate(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut coordinate = vec![0; shape.len()];
    for (at, extent) in coordinate.iter_mut().zip(shape).rev() {
        (*at, index) = (index % extent, index / extent);
    }
    coordinate
}

/// The value where the format has one, and the bits, of an element of at most eight bytes.
pub(super) fn show(dtype: Dtype, bytes: &[u8]) -> String {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(word);
    let digits = 2 * bytes.len();
    match value(dtype, bits) {
        Some(value) => format!("{value} (0x{bits:0digits$X})"),
        None => format!("0x{bits:0digits$X}"),
    }
}

fn value(dtype: Dtype, bits: u64) -> Option<String> {
    Some(match dtype {
        Dtype::F64 => f64::from_bits(bits).to_string(),
        Dtype::F32 => f32::from_bits(bits as u32).to_string(),
        Dtype::BF16 => bf16::from_bits(bits as u16).to_string(),
        Dtype::F16 => f16::from_bits(bits as u16).to_string(),
        Dtype::F8_E4M3 => E4M3::from_bits(bits as u8).to_string(),
        Dtype::F8_E5M2 => E5M2::from_bits(bits as u8).to_string(),
        Dtype::F8_E4M3FNUZ => E4M3Fnuz::from_bits(bits as u8).to_string(),
        Dtype::F8_E5M2FNUZ => E5M2Fnuz::from_bits(bits as u8).to_string(),
        Dtype::F8_E8M0 => E8M0::from_bits(bits as u8).to_string(),
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => bits.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_shows_its_value_and_its_bits() {
        assert_eq!(show(Dtype::F32, &1.5f32.to_le_bytes()), "1.5 (0x3FC00000)");
        assert_eq!(show(Dtype::F32, &(-0.0f32).to_le_bytes()), "-0 (0x80000000)");
        assert_eq!(show(Dtype::BF16, &[0x80, 0x3F]), "1 (0x3F80)");
        assert_eq!(show(Dtype::F8_E4M3, &[0x7E]), "448 (0x7E)");
        assert_eq!(show(Dtype::U64, &7u64.to_le_bytes()), "7 (0x0000000000000007)");
        assert_eq!(show(Dtype::I16, &[0xFF, 0xFF]), "0xFFFF");
    }

    #[test]
    fn the_last_dim_is_contiguous() {
        assert_eq!(coordinate(23, &[2, 3, 4]), [1, 2, 3]);
        assert_eq!(coordinate(4, &[2, 3, 4]), [0, 1, 0]);
        assert_eq!(coordinate(0, &[]), [0usize; 0]);
    }
}
