// Matrix products with the accumulators of a CPU: one f32 chain of fma an output, over k ascending.
//
// Contract: exact given order.
//
//     acc = +0 or d[i, j]
//     for p in 0..k:  acc = fma(a[i, p], b[j, p], acc)
//     d[i, j] = RNE(acc), or RNE(acc * alpha), or for each 128 of k a chain from +0, times its factors added to acc
//
// A tile of 128 x 128 outputs reads 256 elements a step of k for 16,384 fma; that of blocks, whose outputs have two
// accumulators, is 128 x 64 and reads 192 for 8,192. So fma bound the time, one a lane and clock. The models of tensor
// cores are a library's.
// expects: fma.rn.f32, mul.rn.f32, ld.shared.v4.f32, cvt.rn.f16x2.e4m3x2

#include "gemm.cuh"

// Steps of k that share factors.
constexpr u32 PROMOTION = 128;

DEVICE Sums<8> chains(const Product& x, const Tile<8>& tile) {
    Sums<8> sums = start(x, tile);
    for_panels(x, tile, [&](const auto& a, const auto& b, u64) { add_products(sums, a, b); });
    return sums;
}

// a is [m, k], or [k, m] where bit 0 of layout is set; b is [n, k], or [k, n] where bit 1 is.
extern "C" __global__ void __launch_bounds__(256)
    gemm_f32(View a, View b, View d, u32 m, u32 n, u32 k, u32 layout, u32 from_d) {
    const Product x = {{a, m, k, (layout & 1) != 0}, {b, n, k, (layout & 2) != 0}, d, from_d == 1};
    const Tile<8> tile(x);
    finish(x, tile, chains(x, tile), [](f32 sum) { return sum; });
}

// d = acc * alpha, alpha = a_scale_inv[0] * b_scale_inv[0]
extern "C" __global__ void __launch_bounds__(256)
    gemm_scaled_f32(View a, View a_scale_inv, View b, View b_scale_inv, View d, u32 m, u32 n, u32 k, u32 from_d) {
    const Product x = {{a, m, k, false}, {b, n, k, false}, d, from_d == 1};
    const Tile<8> tile(x);
    const Sums<8> sums = chains(x, tile);
    // Read last: it would take a register from the sums.
    const f32 alpha = mul_rn(load(a_scale_inv, 0), load(b_scale_inv, 0));
    finish(x, tile, sums, [=](f32 sum) { return mul_rn(sum, alpha); });
}

// What multiplies the chains over 128 steps: a factor for each row of a, and one for each `b_vectors` rows of b.
struct Factors {
    const f32 *a, *b;
    u32 b_vectors;
    u64 blocks;

    // acc = fma(s, partial, acc) with s = a[i, q] * b[j / b_vectors, q]
    DEVICE void promote(const Product& x, const Tile<4>& tile, const Sums<4>& partial, Sums<4>& sums, u64 q) const {
        f32 of_b[4];
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            const u64 col = u64(tile.col) + place(col_side(), j);
            of_b[j] = col < x.b.vectors ? b[col / b_vectors * blocks + q] : 0.0f;
        }
#pragma unroll
        for (u32 i = 0; i < MY_ROWS; i++) {
            const u64 row = u64(tile.row) + place(row_side(), i);
            const f32 of_a = row < x.a.vectors ? a[row * blocks + q] : 0.0f;
#pragma unroll
            for (u32 j = 0; j < 4; j++) sums.v[i][j] = fma_rn(mul_rn(of_a, of_b[j]), partial.v[i][j], sums.v[i][j]);
        }
    }
};

extern "C" __global__ void __launch_bounds__(256)
    gemm_block_f32(View a, View a_scale_inv, View b, View b_scale_inv, View d, u32 m, u32 n, u32 k, u32 b_vectors,
        u32 from_d) {
    const Product x = {{a, m, k, false}, {b, n, k, false}, d, from_d == 1};
    const Factors factors = {a_scale_inv.as<f32>(), b_scale_inv.as<f32>(), b_vectors, ceil_div(k, PROMOTION)};
    const Tile<4> tile(x);
    Sums<4> sums = start(x, tile), partial = {};
    for_panels(x, tile, [&](const auto& a, const auto& b, u64 step) {
        add_products(partial, a, b);
        if ((step + STEPS) % PROMOTION != 0 && step + STEPS < k) return;
        factors.promote(x, tile, partial, sums, step / PROMOTION);
        partial = {};
    });
    finish(x, tile, sums, [](f32 sum) { return sum; });
}
