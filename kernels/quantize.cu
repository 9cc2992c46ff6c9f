// Per-tensor quantisation: amax, scale, codes, and back.
//
// Contract: exact. Maxima and counts are of integers, so the order of blocks does not show. amax moves x once; quantize
// moves x and code once, quantize_transpose the codes twice, through shared memory; dequantize moves code and y once.
// expects: cvt.rn.satfinite.e4m3x2.f32, cvt.rn.satfinite.e5m2x2.f32, cvt.rn.f16x2.e4m3x2, redux.sync.max.u32
// expects: redux.sync.add, div.rn.f32, mul.rn.f32

#include "tally.cuh"
#include "turn.cuh"

// Groups that a thread takes where a block has something to tell at its end.
constexpr u32 ROUNDS = 4;

// The first element that this thread has in a round.
DEVICE u64 first_of(u32 round) {
    return ((u64(blockIdx.x) * ROUNDS + round) * blockDim.x + threadIdx.x) * GROUP;
}

// amax[0] = 0
extern "C" __global__ void __launch_bounds__(32) amax_begin(View x, View amax) {
    (void)x;
    if (threadIdx.x == 0) store(amax, 0, 0.0f);
}

// amax[0] = the largest of itself and x
extern "C" __global__ void __launch_bounds__(256) amax(View x, View amax) {
    u32 largest = 0;
    for (u32 round = 0; round < ROUNDS; round++) {
        const Group g = load_group(x, first_of(round));
        for (u32 k = 0; k < GROUP; k++) largest = larger(largest, magnitude_bits(g.v[k]));
    }
    largest = block_max(largest);
    if (threadIdx.x == 0) raise(amax.as<u32>(), largest);
}

extern "C" __global__ void __launch_bounds__(256) scale_from_amax(View amaxes, View head, View scale, View scale_inv,
    f32 fp_max, u32 rule) {
    u32 largest = 0;
    for (u64 i = threadIdx.x; i < amaxes.elements; i += blockDim.x) {
        largest = larger(largest, magnitude_bits(load(amaxes, i)));
    }
    largest = block_max(largest);
    if (threadIdx.x != 0) return;
    const f32 factor = at_most_largest(mul_rn(load(head, 0), scale_for(rule, largest, fp_max)));
    store(scale, 0, factor);
    store(scale_inv, 0, div_rn(1.0f, factor));
}

extern "C" __global__ void __launch_bounds__(32) push_amax(View amax, View history, View count) {
    if (threadIdx.x != 0) return;
    const f32 latest = load(amax, 0);
    u32* pushed = count.as<u32>();
    store(history, *pushed % history.elements, is_finite(latest) ? latest : 0.0f);
    *pushed += 1;
    store(amax, 0, 0.0f);
}

// What is cast, from x to a type of FP8 by a factor.
struct Cast {
    f32 factor, largest, vanishing;

    DEVICE Cast(const View& scale, u32 dtype)
        : factor(load(scale, 0)), largest(fp8_max(dtype)), vanishing(::vanishing(dtype)) {}

    // Multiplies a group by the factor.
    DEVICE void apply(Group& g, Tally& tally) const {
        for (u32 k = 0; k < GROUP; k++) {
            const f32 scaled = mul_rn(g.v[k], factor);
            tally.take(g.v[k], absolute(scaled) > largest, absolute(scaled) <= vanishing);
            g.v[k] = scaled;
        }
    }
};

extern "C" __global__ void __launch_bounds__(256) quantize(View x, View scale, View code, View amax, View counts) {
    const Cast cast(scale, code.dtype);
    Tally tally = {};
#pragma unroll 1
    for (u32 round = 0; round < ROUNDS; round++) {
        Group g = load_group(x, first_of(round));
        cast.apply(g, tally);
        store_group(code, first_of(round), g);
    }
    record(tally, amax, counts);
}

extern "C" __global__ void __launch_bounds__(256) quantize_transpose(View x, View scale, View code, View code_t,
    View amax, View counts, u32 rows, u32 cols) {
    __shared__ Tile<TURNED> tile;
    const Cast cast(scale, code.dtype);
    const TilePlace at = tile_place<TURNED>(cols);
    Tally tally = {};
#pragma unroll 1
    for (u32 item = threadIdx.x; item < TURNED * TURNED / GROUP; item += blockDim.x) {
        const u32 row = item / (TURNED / GROUP), col = item % (TURNED / GROUP) * GROUP;
        const u64 first = (at.row + row) * cols, elements = at.row + row < rows ? cols : 0;
        Group g = load_group(part(x, first, elements), at.col + col);
        cast.apply(g, tally);
        const Words2 codes = codes_of(code.dtype, g);
        store_bytes(part(code, first, elements), at.col + col, codes);
        tile.put(row, col, codes);
    }
    __syncthreads();
    store_turned(tile, at, code_t, rows, cols);
    record(tally, amax, counts);
}

// y[i] = code[i] * scale_inv[0]
extern "C" __global__ void __launch_bounds__(256) dequantize(View code, View scale_inv, View y) {
    const f32 factor = load(scale_inv, 0);
    map(code, y, [=](f32 value) { return mul_rn(value, factor); });
}
