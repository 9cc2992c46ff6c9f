// Cross-entropy fused with softmax: loss and gradient of a row of logits.
//
// Contract: exact given order. A block of 1,024 threads takes a row, so that the rows under way stay in the cache: 132
// rows of 128 K logits of 2 bytes are 34 MB. Then a row comes from memory for the maximum, and from the cache for the
// sum and for the gradient: logits and dlogits move once. Where a group has the columns it agrees on maxima and on sums,
// so the work stands in three entries, each of which moves the logits.
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

// The canonical sum of the exponentials of a row.
DEVICE f32 sum_of_exponentials(const View& x, f32 max) {
    return sum_of_groups<THREADS>(x.elements, [&](u64 j) { return exponentials(x, j, max); });
}

// dx = (exp(x - max) / z - (1 at the target, else 0)) * gradient_scale
DEVICE void store_gradients(const View& x, const View& dx, f32 max, f32 z, u64 target, f32 gradient_scale) {
    for_groups(x.elements, [&](u64 j) {
        const Group e = exponentials(x, j, max);
        store_group(dx, j, group_of([&](u32 k) {
            const f32 p = div_rn(e.v[k], z);
            return mul_rn(j + k == target ? sub_rn(p, 1.0f) : p, gradient_scale);
        }));
    });
}

// m = max(x), z = sum of exp(x - m), loss = (m + log z) - x[target],
// dlogits = (exp(x - m) / z - (1 at the target, else 0)) * gradient_scale
extern "C" __global__ void __launch_bounds__(1024)
    cross_entropy(View logits, View targets, View loss, View dlogits, u32 rows, u32 cols, f32 gradient_scale) {
    for_rows(rows, [&](u64 r) {
        const View x = part(logits, r * cols, cols), dx = part(dlogits, r * cols, cols);
        const u32 target = targets.as<u32>()[r];
        const f32 max = maximum(x);
        const f32 sum = sum_of_exponentials(x, max);
        // Without a target everything below is NaN.
        const f32 z = target < cols ? sum : nan_value();
        store_gradients(x, dx, max, z, target, gradient_scale);
        if (threadIdx.x > 0) return;
        store(loss, r, sub_rn(add_rn(max, log_f32(z)), target < cols ? load(x, target) : nan_value()));
    });
}

// maxima[r] = max(x), +0 for -0: so all orders have the same bits
extern "C" __global__ void __launch_bounds__(1024) cross_entropy_maxima(View logits, View maxima, u32 rows, u32 cols) {
    for_rows(rows, [&](u64 r) {
        const f32 max = maximum(part(logits, r * cols, cols));
        if (threadIdx.x == 0) store(maxima, r, add_rn(max, 0.0f));
    });
}

// sums[0, r] = sum of exp(x - maxima[r]), NaN without a target; sums[1, r] = x at the target, 0 if another member has it
extern "C" __global__ void __launch_bounds__(1024) cross_entropy_sums(View logits, View targets, View maxima,
    View sums, u32 rows, u32 cols, u32 first, u32 vocabulary) {
    for_rows(rows, [&](u64 r) {
        const View x = part(logits, r * cols, cols);
        const u64 target = targets.as<u32>()[r];
        const f32 sum = sum_of_exponentials(x, load(maxima, r));
        if (threadIdx.x > 0) return;
        store(sums, r, target < vocabulary ? sum : nan_value());
        // What is before the first column wraps around.
        store(sums, u64(rows) + r, target - first < cols ? load(x, target - first) : 0.0f);
    });
}

// loss = (maxima[r] + log sums[0, r]) - sums[1, r], and dlogits as above with z = sums[0, r]
extern "C" __global__ void __launch_bounds__(1024) cross_entropy_gradient(View logits, View targets, View maxima,
    View sums, View loss, View dlogits, u32 rows, u32 cols, u32 first, f32 gradient_scale) {
    for_rows(rows, [&](u64 r) {
        const View x = part(logits, r * cols, cols), dx = part(dlogits, r * cols, cols);
        const f32 max = load(maxima, r), z = load(sums, r);
        if (threadIdx.x == 0) store(loss, r, sub_rn(add_rn(max, log_f32(z)), load(sums, u64(rows) + r)));
        store_gradients(x, dx, max, z, u64(targets.as<u32>()[r]) - first, gradient_scale);
    });
}
