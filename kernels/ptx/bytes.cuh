// Bytes of words, put together anew.
#pragma once

#include "cuda.cuh"

// Four of the eight bytes of b and a, which has the lower ones, by the low three bits of each nibble of `order`.
#ifdef __CUDACC__
DEVICE u32 select_bytes(u32 a, u32 b, u32 order) { return __byte_perm(a, b, order); }
#else
DEVICE u32 select_bytes(u32 a, u32 b, u32 order) {
    const u64 bytes = u64(b) << 32 | a;
    u32 selected = 0;
    for (u32 k = 0; k < 4; k++) selected |= (u32(bytes >> (8 * (order >> (4 * k) & 7))) & 0xFF) << (8 * k);
    return selected;
}
#endif

struct Square {
    u32 rows[4];
};

// The transpose of 4 x 4 bytes.
DEVICE Square transpose(const Square& x) {
    const u32 ab_low = select_bytes(x.rows[0], x.rows[1], 0x5140), ab_high = select_bytes(x.rows[0], x.rows[1], 0x7362);
    const u32 cd_low = select_bytes(x.rows[2], x.rows[3], 0x5140), cd_high = select_bytes(x.rows[2], x.rows[3], 0x7362);
    return {{select_bytes(ab_low, cd_low, 0x5410), select_bytes(ab_low, cd_low, 0x7632),
        select_bytes(ab_high, cd_high, 0x5410), select_bytes(ab_high, cd_high, 0x7632)}};
}
