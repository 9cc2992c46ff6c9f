// Cross-entropy fused with softmax: loss and gradient of a row of logits.
//
// Contract: exact given order. A block of 1,024 threads takes a row, so that the rows under way stay in the cache: 132
// rows of 128 K logits of 2 bytes are 34 MB. Then a row comes from memory for the maximum, and from the cache for the
// sum and for the gradient: logits and dlogits move once.
// expects: fma.rn.f32, div.rn.f32, shfl.sync.idx.b32

#include "math.cuh"
#include "rows.cuh"

constexpr u32 THREADS = 1024;

DEVICE f32 greater(f32 a, f32 b) { return b > a ? b : a; }

DEVICE f32 warp_greatest(f32 value) {
    for (u32 width = WARP / 2; width > 0; width /= 2) value = greater(value, from_next_lane(value, width));
    return value;
}

// The greatest value of the block, in every thread.
DEVICE f32 block_greatest(f32 value) {
    __shared__ f32 warps[THREADS / WARP];
    static_assert(THREADS / WARP == WARP, "a warp takes one value of every warp");
    value = warp_greatest(value);
    // Nobody reads what stood here before any more.
    __syncthreads();
    if (lane_number() == 0) warps[threadIdx.x / WARP] = value;
    __syncthreads();
    return warp_greatest(warps[lane_number()]);
}

// The largest of a row. A NaN is passed over; the sum that follows meets it again.
DEVICE f32 maximum(const View& x) {
    f32 largest = -infinity();
    for_groups(x.elements, [&](u64 j) {
        const Group g = load_group(x, j);
#pragma unroll
        for (u32 k = 0; k < GROUP; k++) largest = greater(largest, j + k < x.elements ? g.v[k] : -infinity());
    });
    return block_greatest(largest);
}

DEVICE Group exponentials(const View& x, u64 j, f32 max) {
    const Group g = load_group(x, j);
    return group_of([&](u32 k) { return exp_f32(sub_rn(g.v[k], max)); });
}

// m = max(x), z = sum of exp(x - m), loss = (m + log z) - x[target],
// dlogits = (exp(x - m) / z - (1 at the target, else 0)) * gradient_scale
extern "C" __global__ void __launch_bounds__(1024)
    cross_entropy(View logits, View targets, View loss, View dlogits, u32 rows, u32 cols, f32 gradient_scale) {
    for_rows(rows, [&](u64 r) {
        const View x = part(logits, r * cols, cols), dx = part(dlogits, r * cols, cols);
        const u32 target = targets.as<u32>()[r];
        const f32 max = maximum(x);
        const f32 sum = sum_of_groups<THREADS>(cols, [&](u64 j) { return exponentials(x, j, max); });
        // Without a target everything below is NaN.
        const f32 z = target < cols ? sum : nan_value();
        for_groups(cols, [&](u64 j) {
            const Group e = exponentials(x, j, max);
            store_group(dx, j, group_of([&](u32 k) {
                const f32 p = div_rn(e.v[k], z);
                return mul_rn(j + k == target ? sub_rn(p, 1.0f) : p, gradient_scale);
            }));
        });
        if (threadIdx.x > 0) return;
        store(loss, r, sub_rn(add_rn(max, log_f32(z)), target < cols ? load(x, target) : nan_value()));
    });
}
