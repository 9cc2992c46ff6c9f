// Canonical sums of tensors, and the norm that clips gradients.
//
// Contract: exact given order. A first entry sums chunks of 65,536 elements, a block each, into scratch; a second, of
// one block, sums those sums. So a sum moves each element once, and 4 bytes for each chunk twice.
// expects: add.rn.f32, mul.rn.f32, sqrt.rn.f32, div.rn.f32

#include "reduce.cuh"
#include "view.cuh"

// This block's sum of a chunk from its lanes.
DEVICE void write_chunk(f32 lane, void* scratch) {
    const f32 sum = fold_lanes(lane);
    if (threadIdx.x == 0) static_cast<f32*>(scratch)[blockIdx.x] = sum;
}

// The lane of this block's chunk of n values.
template <class F> DEVICE f32 chunk_lane(u64 n, F value) {
    const u64 first = blockIdx.x * CHUNK;
    return lane_sum(first, smaller(n, first + CHUNK), value);
}

// y[0] = the canonical sum of the sums of the chunks of n values
DEVICE void sum_chunks_of(u64 n, const View& y, const void* scratch) {
    const f32* sums = static_cast<const f32*>(scratch);
    const f32 sum = canonical_sum(ceil_div(n, CHUNK), [=](u64 i) { return sums[i]; });
    if (threadIdx.x == 0) store(y, 0, sum);
}

// y[0] = the canonical sum of x
extern "C" __global__ void __launch_bounds__(128) sum_chunks(View x, View y, void* scratch) {
    const f32* values = x.as<f32>();
    write_chunk(chunk_lane(x.elements, [=](u64 i) { return values[i]; }), scratch);
}

extern "C" __global__ void __launch_bounds__(128) sum_total(View x, View y, void* scratch) {
    sum_chunks_of(x.elements, y, scratch);
}

DEVICE f32 square(f32 x) { return mul_rn(x, x); }

// y[0] = the canonical sum of x * x
extern "C" __global__ void __launch_bounds__(128) sum_squares_chunks(View x, View y, void* scratch) {
    f32 lane = 0.0f;
    by_float(x, [&](const View& x) { lane = chunk_lane(x.elements, [=](u64 i) { return square(load(x, i)); }); });
    write_chunk(lane, scratch);
}

extern "C" __global__ void __launch_bounds__(128) sum_squares_total(View x, View y, void* scratch) {
    sum_chunks_of(x.elements, y, scratch);
}

// y[0] = the canonical sum of g * g, g = code * scale_inv[0]
extern "C" __global__ void __launch_bounds__(128)
    sum_squares_dequantized_chunks(View code, View scale_inv, View y, void* scratch) {
    const f32 factor = load(scale_inv, 0);
    f32 lane = 0.0f;
    by_state(code, [&](const View& code) {
        lane = chunk_lane(code.elements, [=](u64 i) { return square(mul_rn(load(code, i), factor)); });
    });
    write_chunk(lane, scratch);
}

extern "C" __global__ void __launch_bounds__(128)
    sum_squares_dequantized_total(View code, View scale_inv, View y, void* scratch) {
    sum_chunks_of(code.elements, y, scratch);
}

// norm = sqrt(the canonical sum of sums); skip = whether it or an amax is not finite; factor = max_norm / norm where
// the norm is larger and nothing is skipped, else 1
extern "C" __global__ void __launch_bounds__(128)
    clip(View sums, View amaxes, View norm, View factor, View skip, f32 max_norm) {
    const f32 *sum = sums.as<f32>(), *amax = amaxes.as<f32>();
    const f32 length = sqrt_rn(canonical_sum(sums.elements, [=](u64 i) { return sum[i]; }));
    // A sum of ones may round, but not to zero.
    const f32 others = canonical_sum(amaxes.elements, [=](u64 i) { return is_finite(amax[i]) ? 0.0f : 1.0f; });
    if (threadIdx.x > 0) return;
    const bool finite = is_finite(length) && others == 0.0f;
    store(norm, 0, length);
    store(factor, 0, finite && length > max_norm ? div_rn(max_norm, length) : 1.0f);
    skip.as<u32>()[0] = finite ? 0 : 1;
}
