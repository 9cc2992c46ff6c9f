// Values stored under a scale that is given.
//
// Contract: exact. Moves each element of x and y once.
// expects: cvt.rn.satfinite.e4m3x2.f32, cvt.rn.satfinite.e5m2x2.f32, cvt.rn.f16.f32, mul.rn.f32, div.rn.f32

#include "factor.cuh"
#include "view.cuh"

// y[i] = x[i] * scale[0]
extern "C" __global__ void __launch_bounds__(256) scale(View x, View scale, View y) {
    const f32 factor = load(scale, 0);
    map(x, y, [=](f32 value) { return mul_rn(value, factor); });
}

// y[i] = 1 / x[i]
extern "C" __global__ void __launch_bounds__(256) reciprocal(View x, View y) {
    map(x, y, [](f32 value) { return div_rn(1.0f, value); });
}

// scale[i] = ranks * (scale[i] * factor[i]), scale_inv[i] = 1 / scale[i]
extern "C" __global__ void __launch_bounds__(256) rescale(View scale, View factor, View scale_inv, u32 ranks) {
    const u64 i = thread_number();
    if (i >= scale.elements) return;
    const f32 one = at_most_largest(mul_rn(load(scale, i), load(factor, i)));
    const f32 all = at_most_largest(mul_rn(f32(ranks), one));
    store(scale, i, all);
    store(scale_inv, i, div_rn(1.0f, all));
}
