// RMSNorm and LayerNorm, forward and backward.
//
// Contract: exact given order. A block of 128 threads takes a row: it reads it from memory for the sums, and again,
// from the cache, for what it writes. Forward moves x and y once. Backward moves dy, x and dx once for dx, and dy and x
// once more for the columns: a chunk of 256 rows adds one after another, so that blocks that did both would be too few.
// Gain, shift and the sums of chunks are small beside them.
// expects: add.rn.f32, mul.rn.f32, div.rn.f32, sqrt.rn.f32

#include "columns.cuh"
#include "rows.cuh"

constexpr u32 THREADS = 128;

DEVICE f32 mean_of(f32 sum, u32 cols) { return div_rn(sum, to_f32(cols)); }
DEVICE f32 reciprocal_root(f32 x) { return div_rn(1.0f, sqrt_rn(x)); }

DEVICE Group product(const Group& a, const Group& b) {
    return group_of([&](u32 k) { return mul_rn(a.v[k], b.v[k]); });
}

// x - mean, or x itself, of a row.
struct Centred {
    View x;
    bool centre;
    f32 mean;

    DEVICE Group operator()(u64 j) const {
        const Group g = load_group(x, j);
        return centre ? group_of([&](u32 k) { return sub_rn(g.v[k], mean); }) : g;
    }
};

// 1 / sqrt(mean of d * d + eps)
DEVICE f32 reciprocal_deviation(const Centred& row, u32 cols, f32 eps) {
    const f32 sum = sum_of_groups<THREADS>(cols, [&](u64 j) {
        const Group d = row(j);
        return product(d, d);
    });
    return reciprocal_root(add_rn(mean_of(sum, cols), eps));
}

// (d * rstd) * gain
DEVICE Group normalised(const Group& d, f32 rstd, const Group& gain) {
    return group_of([&](u32 k) { return mul_rn(mul_rn(d.v[k], rstd), gain.v[k]); });
}

extern "C" __global__ void __launch_bounds__(128)
    rms_norm(View x, View gain, View y, View rstd, u32 rows, u32 cols, f32 eps) {
    for_rows(rows, [&](u64 r) {
        const Centred row = {part(x, r * cols, cols), false, 0.0f};
        const View out = part(y, r * cols, cols);
        const f32 scale = reciprocal_deviation(row, cols, eps);
        for_groups(cols, [&](u64 j) { store_group(out, j, normalised(row(j), scale, load_group(gain, j))); });
        if (threadIdx.x == 0) store(rstd, r, scale);
    });
}

extern "C" __global__ void __launch_bounds__(128)
    layer_norm(View x, View gain, View shift, View y, View mean, View rstd, u32 rows, u32 cols, f32 eps) {
    for_rows(rows, [&](u64 r) {
        Centred row = {part(x, r * cols, cols), true, 0.0f};
        const View out = part(y, r * cols, cols);
        row.mean = mean_of(sum_of_groups<THREADS>(cols, [&](u64 j) { return load_group(row.x, j); }), cols);
        const f32 scale = reciprocal_deviation(row, cols, eps);
        for_groups(cols, [&](u64 j) {
            const Group g = normalised(row(j), scale, load_group(gain, j)), moved = load_group(shift, j);
            store_group(out, j, group_of([&](u32 k) { return add_rn(g.v[k], moved.v[k]); }));
        });
        if (threadIdx.x > 0) return;
        store(mean, r, row.mean);
        store(rstd, r, scale);
    });
}

// What backward knows of a row.
struct Gradient {
    View dy, gain;
    Centred row;
    f32 rstd;

    // dy * gain
    DEVICE Group w(u64 j) const { return product(load_group(dy, j), load_group(gain, j)); }

    DEVICE Group xhat(u64 j) const {
        const Group d = row(j);
        return group_of([&](u32 k) { return mul_rn(d.v[k], rstd); });
    }

    // The mean of w * xhat
    DEVICE f32 slope(u32 cols) const {
        return mean_of(sum_of_groups<THREADS>(cols, [&](u64 j) { return product(w(j), xhat(j)); }), cols);
    }
};

// dx = ((w - a) - xhat * c) * rstd; taking an a of +0 from w changes nothing.
DEVICE void write_gradient(const Gradient& gradient, f32 a, f32 c, const View& dx) {
    for_groups(dx.elements, [&](u64 j) {
        const Group xhat = gradient.xhat(j), w = gradient.w(j);
        store_group(dx, j, group_of([&](u32 k) {
            return mul_rn(sub_rn(sub_rn(w.v[k], a), mul_rn(xhat.v[k], c)), gradient.rstd);
        }));
    });
}

extern "C" __global__ void __launch_bounds__(128)
    rms_norm_backward(View dy, View x, View gain, View rstd, View dx, View dgain, u32 rows, u32 cols, void* scratch) {
    for_rows(rows, [&](u64 r) {
        const Centred row = {part(x, r * cols, cols), false, 0.0f};
        const Gradient gradient = {part(dy, r * cols, cols), gain, row, rstd.as<f32>()[r]};
        write_gradient(gradient, 0.0f, gradient.slope(cols), part(dx, r * cols, cols));
    });
}

// scratch [chunks, cols] = the sums of chunks of dy * xhat
extern "C" __global__ void __launch_bounds__(128) rms_norm_backward_chunks(View dy, View x, View gain, View rstd,
                                                                           View dx, View dgain, u32 rows, u32 cols,
                                                                           void* scratch) {
    const f32* scale = rstd.as<f32>();
    by_float(dy, [&](const View& dy) {
        by_float(x, [&](const View& x) {
            sum_chunks_of_rows<1>(rows, cols, scratch, [=](u64 r, u64 j) {
                const u64 i = r * cols + j;
                return Values<1>{{mul_rn(load(dy, i), mul_rn(load(x, i), scale[r]))}};
            });
        });
    });
}

extern "C" __global__ void __launch_bounds__(256) rms_norm_backward_tree(View dy, View x, View gain, View rstd,
                                                                         View dx, View dgain, u32 rows, u32 cols,
                                                                         void* scratch) {
    const u64 j = thread_number(), chunks = ceil_div(rows, CHUNK_ROWS);
    if (j < cols) store(dgain, j, sum_by_tree(chunks, cols, static_cast<f32*>(scratch), j));
}

extern "C" __global__ void __launch_bounds__(128) layer_norm_backward(View dy, View x, View gain, View mean, View rstd,
                                                                      View dx, View dgain, View dshift, u32 rows,
                                                                      u32 cols, void* scratch) {
    for_rows(rows, [&](u64 r) {
        const Centred row = {part(x, r * cols, cols), true, mean.as<f32>()[r]};
        const Gradient gradient = {part(dy, r * cols, cols), gain, row, rstd.as<f32>()[r]};
        const f32 a = mean_of(sum_of_groups<THREADS>(cols, [&](u64 j) { return gradient.w(j); }), cols);
        write_gradient(gradient, a, gradient.slope(cols), part(dx, r * cols, cols));
    });
}

// scratch [2, chunks, cols] = the sums of chunks of dy * xhat, and of dy
extern "C" __global__ void __launch_bounds__(128) layer_norm_backward_chunks(View dy, View x, View gain, View mean,
                                                                             View rstd, View dx, View dgain,
                                                                             View dshift, u32 rows, u32 cols,
                                                                             void* scratch) {
    const f32 *centre = mean.as<f32>(), *scale = rstd.as<f32>();
    by_float(dy, [&](const View& dy) {
        by_float(x, [&](const View& x) {
            sum_chunks_of_rows<2>(rows, cols, scratch, [=](u64 r, u64 j) {
                const u64 i = r * cols + j;
                const f32 slope = load(dy, i), xhat = mul_rn(sub_rn(load(x, i), centre[r]), scale[r]);
                return Values<2>{{mul_rn(slope, xhat), slope}};
            });
        });
    });
}

extern "C" __global__ void __launch_bounds__(256) layer_norm_backward_tree(View dy, View x, View gain, View mean,
                                                                           View rstd, View dx, View dgain, View dshift,
                                                                           u32 rows, u32 cols, void* scratch) {
    const u64 j = thread_number(), chunks = ceil_div(rows, CHUNK_ROWS);
    f32* sums = static_cast<f32*>(scratch);
    if (j >= cols) return;
    store(dgain, j, sum_by_tree(chunks, cols, sums, j));
    store(dshift, j, sum_by_tree(chunks, cols, sums + chunks * cols, j));
}
