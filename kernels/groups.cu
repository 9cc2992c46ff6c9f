// Quantisation in groups whose range is expanded (COAT, arXiv 2410.19313).
//
// Contract: exact. Moves x, code and y once, and 8 bytes of scale a group of 128. A group is held by sixteen neighbours
// of a warp.
// expects: cvt.rn.satfinite.e4m3x2.f32, cvt.rn.satfinite.e5m2x2.f32, div.rn.f32, fma.rn.f32, shfl.sync

#include "expansion.cuh"

extern "C" __global__ void __launch_bounds__(256) quantize_groups(View x, View code, View scale) {
    const u64 i = thread_number() * GROUP;
    const Range range = range_of(code.dtype);
    Group g = load_group(x, i);
    const Fit own = fit(range, g);
    if (i % EXPANDED == 0 && i < code.elements) {
        f32* pair = scale.as<f32>() + i / EXPANDED * 2;
        pair[0] = own.largest;
        pair[1] = own.exponent;
    }
    encode(range, own, g);
    store_group(code, i, g);
}

extern "C" __global__ void __launch_bounds__(256) dequantize_groups(View code, View scale, View y) {
    const u64 i = thread_number() * GROUP;
    if (i >= y.elements) return;
    const f32* pair = scale.as<f32>() + i / EXPANDED * 2;
    Group g = load_group(code, i);
    decode(range_of(code.dtype), {pair[0], pair[1]}, g);
    store_group(y, i, g);
}
