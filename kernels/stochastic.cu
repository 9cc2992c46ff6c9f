// Quantisation that rounds up or down at random.
//
// Contract: exact. Moves x and code once.
// expects: cvt.rn.satfinite.e4m3x2.f32, cvt.rn.satfinite.e5m2x2.f32, mul.rn.f32, redux.sync.max.u32, redux.sync.add

#include "stochastic.cuh"
#include "tally.cuh"

// Groups that a thread takes before its block tells of them.
constexpr u32 ROUNDS = 4;

extern "C" __global__ void __launch_bounds__(256) quantize_stochastic(View x, View scale, View code, View amax,
    View counts, u64 seed, u32 tensor, u32 draw, u64 first) {
    const Stream stream = {seed, tensor, draw};
    const f32 factor = load(scale, 0), largest = fp8_max(code.dtype);
    Tally tally = {};
#pragma unroll 1
    for (u32 round = 0; round < ROUNDS; round++) {
        const u64 i = ((u64(blockIdx.x) * ROUNDS + round) * blockDim.x + threadIdx.x) * GROUP;
        Group g = load_group(x, i);
        const GroupWords random = group_words(stream, first + i);
#pragma unroll
        for (u32 k = 0; k < GROUP; k++) {
            const f32 scaled = mul_rn(g.v[k], factor);
            const f32 rounded = round_stochastically(code.dtype, scaled, random.w[k]);
            tally.take(g.v[k], absolute(scaled) > largest, rounded == 0.0f);
            g.v[k] = rounded;
        }
        store_group(code, i, g);
    }
    record(tally, amax, counts);
}
