// E5M6, twelve bits: the upper ones of f16. Eight codes are twelve bytes.
#pragma once

#include "ptx/arith.cuh"
#include "view.cuh"

struct Packed {
    u32 w[3];
};

// The bytes of a row.
DEVICE u64 packed_bytes(u32 elements) { return u64(elements) + ceil_div(elements, 2); }

// Rounded to nearest-even, saturating.
DEVICE u32 e5m6_from(f32 x) {
    if (is_nan(x)) return 0x7FF;
    const f32 magnitude = absolute(x) < 65024.0f ? absolute(x) : 65024.0f;
    const u32 field = bits(magnitude) >> 23, exponent = field > 113 ? field : 113;
    // In the binade of this sum one unit in the last place is one step of the format.
    const f32 steps = from_bits((exponent + 17) << 23 | 0x00400000);
    const u32 code = bits(add_rn(magnitude, steps)) - bits(steps) + ((exponent - 113) << 6);
    return code | (bits(x) & SIGN_BIT) >> 20;
}

DEVICE f32 from_e5m6(u32 code) { return from_f16(u16(code << 4)); }

DEVICE Packed pack(const Group& g) {
    u32 c[GROUP];
#pragma unroll
    for (u32 k = 0; k < GROUP; k++) c[k] = e5m6_from(g.v[k]);
    return {{c[0] | c[1] << 12 | c[2] << 24, c[2] >> 8 | c[3] << 4 | c[4] << 16 | c[5] << 28,
        c[5] >> 4 | c[6] << 8 | c[7] << 20}};
}

DEVICE Group unpack(const Packed& p) {
    const u32 codes[GROUP] = {p.w[0], p.w[0] >> 12, p.w[0] >> 24 | p.w[1] << 8, p.w[1] >> 4, p.w[1] >> 16,
        p.w[1] >> 28 | p.w[2] << 4, p.w[2] >> 8, p.w[2] >> 20};
    Group g;
#pragma unroll
    for (u32 k = 0; k < GROUP; k++) g.v[k] = from_e5m6(codes[k] & 0xFFF);
    return g;
}

// Whether twelve bytes lie at i, where words reach them.
DEVICE bool holds_packed(const View& x, u64 i) { return i + 12 <= x.elements && is_aligned(x.as<u8>() + i, 4); }

// The twelve bytes from i on; zeros where there are none.
DEVICE Packed load_packed(const View& x, u64 i) {
    Packed p = {};
    if (holds_packed(x, i)) {
        const u32* words = reinterpret_cast<const u32*>(x.as<u8>() + i);
        return {{words[0], words[1], words[2]}};
    }
#pragma unroll
    for (u32 k = 0; k < 12; k++) {
        if (i + k < x.elements) p.w[k / 4] |= u32(x.as<u8>()[i + k]) << (8 * (k % 4));
    }
    return p;
}

// Writes twelve bytes from i on, as many as there are.
DEVICE void store_packed(const View& y, u64 i, const Packed& p) {
    if (holds_packed(y, i)) {
        u32* words = reinterpret_cast<u32*>(y.as<u8>() + i);
        words[0] = p.w[0];
        words[1] = p.w[1];
        words[2] = p.w[2];
        return;
    }
#pragma unroll
    for (u32 k = 0; k < 12; k++) {
        if (i + k < y.elements) y.as<u8>()[i + k] = u8(p.w[k / 4] >> (8 * (k % 4)));
    }
}
