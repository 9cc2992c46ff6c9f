//! Sums of FP8 codes over ranks in AVX-512, 64 elements at a time.
//!
//! A code is exact in BF16, which is the upper half of an f32. So its low seven bits look up the two bytes of its
//! magnitude, 64 codes at once, and unpacking bytes to words and words to dwords leaves numbers to add: 13 instructions
//! for 64 codes of a rank. The unpacking works within the quarters of a vector, and once the sums are whole their
//! quarters are put in order.

use std::arch::x86_64::*;

use fp8lm_formats::{Fp8, layout::Layout};

/// Elements of a group.
pub(super) const WIDTH: usize = 64;

/// The sums, over `ranks` rows of `n` codes, of the elements from `first` on, whole groups of them.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn sum<L: Layout>(
    codes: &[Fp8<L>],
    (n, ranks): (usize, usize),
    first: usize,
    y: &mut [[f32; WIDTH]],
) {
    let decoder = Decoder::new::<L>();
    for (group, y) in y.iter_mut().enumerate() {
        let mut sums = [_mm512_setzero_ps(); 4];
        for rank in 0..ranks {
            let start = rank * n + first + group * WIDTH;
            let terms = decoder.decode(load(&codes[start..start + WIDTH]));
            for (sum, term) in sums.iter_mut().zip(terms) {
                *sum = _mm512_add_ps(*sum, term);
            }
        }
        store(in_order(sums), y);
    }
}

/// The bytes of BF16 by code, without its sign.
struct Decoder {
    low: [__m512i; 2],
    high: [__m512i; 2],
}

impl Decoder {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new<L: Layout>() -> Self {
        let table = |byte| {
            let table: [[u8; WIDTH]; 2] = bytemuck::cast(table::<L>(byte));
            table.map(|half| load(&half))
        };
        Self { low: table(0), high: table(1) }
    }

    /// The numbers, of which vector v has those at 16q + 4v to 16q + 4v + 3 in quarter q.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn decode(&self, codes: __m512i) -> [__m512; 4] {
        // The lookup takes seven bits of a code.
        let low = _mm512_permutex2var_epi8(self.low[0], codes, self.low[1]);
        let high = _mm512_permutex2var_epi8(self.high[0], codes, self.high[1]);
        // sign_bit ? code : high
        let sign_bit = _mm512_set1_epi8(i8::MIN);
        let high = _mm512_ternarylogic_epi32::<0b1100_1010>(sign_bit, codes, high);
        let words = [_mm512_unpacklo_epi8(low, high), _mm512_unpackhi_epi8(low, high)];
        let zero = _mm512_setzero_si512();
        let dwords = words
            .map(|words| [_mm512_unpacklo_epi16(zero, words), _mm512_unpackhi_epi16(zero, words)]);
        [dwords[0][0], dwords[0][1], dwords[1][0], dwords[1][1]]
            .map(|dwords| _mm512_castsi512_ps(dwords))
    }
}

/// Byte `byte` of the BF16 of every code without a sign.
const fn table<L: Layout>(byte: u32) -> [u8; 2 * WIDTH] {
    let mut table = [0; 2 * WIDTH];
    let mut code = 0;
    while code < table.len() {
        let bits = Fp8::<L>::from_bits(code as u8).to_f32().to_bits() >> 16;
        table[code] = (bits >> (8 * byte)) as u8;
        code += 1;
    }
    table
}

/// Quarter q of vector v becomes quarter v of vector q.
#[inline]
#[target_feature(enable = "avx512f")]
fn in_order(x: [__m512; 4]) -> [__m512; 4] {
    let pairs = [(x[0], x[1]), (x[2], x[3])];
    let [low, low2] = pairs.map(|(a, b)| _mm512_shuffle_f32x4::<0x44>(a, b));
    let [high, high2] = pairs.map(|(a, b)| _mm512_shuffle_f32x4::<0xEE>(a, b));
    [
        _mm512_shuffle_f32x4::<0x88>(low, low2),
        _mm512_shuffle_f32x4::<0xDD>(low, low2),
        _mm512_shuffle_f32x4::<0x88>(high, high2),
        _mm512_shuffle_f32x4::<0xDD>(high, high2),
    ]
}

/// # Panics
/// Unless there are 64.
#[inline]
#[target_feature(enable = "avx512f")]
fn load<T: bytemuck::NoUninit>(codes: &[T]) -> __m512i {
    let bytes: &[u8; WIDTH] = bytemuck::cast_slice(codes).try_into().expect("there are 64");
    // SAFETY: the array has 64 bytes; no alignment is asked for.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(x: [__m512; 4], y: &mut [f32; WIDTH]) {
    let (quarters, _) = y.as_chunks_mut::<16>();
    for (x, quarter) in x.into_iter().zip(quarters) {
        // SAFETY: the quarter has 16 elements; no alignment is asked for.
        unsafe { _mm512_storeu_ps(quarter.as_mut_ptr(), x) };
    }
}
