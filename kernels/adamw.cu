// AdamW with master weights and moments each in its own format (FP8-LM, section 2.2).
//
// Contract: exact. Where a scale follows from the largest magnitude of a new state, a step goes over memory twice:
//
//     begin   keep the old scales, and clear the maxima before they are found
//     amax    raise them to the new states', which are not kept: to read the old ones again takes fewer bytes than to
//             write the new ones in f32 and to read those
//     store   compute the new states again, make the scales, round and store
//
// `store` moves grad once and every state twice, read and written. `amax` reads grad, m and v once more, the master too
// if its own scale follows from it, and no state that nothing depends on: with grad and m in E4M3, master and v in F16
// that makes 11 + 6 bytes an element. Where no scale follows there is `store` alone. Of a tensor that a group has in
// shards one launch finds the maxima, the group agrees on them, and another stores. Many launches go as one (many.cuh),
// so that a step over all tensors of a model is these three.
// expects: cvt.rn.satfinite.e4m3x2.f32, cvt.rn.satfinite.e5m2x2.f32, div.rn.f32, sqrt.rn.f32, mul.rn.f64, shfl.sync

#include "adamw.cuh"
#include "many.cuh"

// Groups of eight that a thread takes in search of maxima: few blocks then meet at their atomics.
constexpr u32 ROUNDS = 4;

// powers[i] *= beta_i unless skipped; corrections[i] = 1 - powers[i]
extern "C" __global__ void __launch_bounds__(32) adamw_advance(View skip, View powers,
    View corrections, f32 beta1, f32 beta2) {
    const u32 i = threadIdx.x;
    if (i >= 2) return;
    f64* power = powers.as<f64>() + i;
    if (skip.as<u32>()[0] == 0) *power = mul_rn(*power, f64(i == 0 ? beta1 : beta2));
    store(corrections, i, narrow_rn(sub_rn(1.0, *power)));
}

DEVICE f32 begin_state(const State& x, u32& amax, u32 phases) {
    if (!x.needs_amax()) return 1.0f;
    if (phases & FIND) amax = 0;
    return div_rn(1.0f, load(x.scale, 0));
}

DEVICE void begin(const AdamW& a) {
    if (threadIdx.x != 0) return;
    a.inverses->master = begin_state(a.master, a.amaxes[0], a.phases);
    a.inverses->m = begin_state(a.m, a.amaxes[1], a.phases);
    a.inverses->v = begin_state(a.v, a.amaxes[2], a.phases);
}

// The magnitudes of the elements from i on of the new states, the largest so far.
struct Maxima {
    u32 master = 0, m = 0, v = 0;

    DEVICE void take(const AdamW& a, const Step& step, const Inverses& inverses, u64 i) {
        const bool with_master = a.master.needs_amax();
        const Group zeros = {};
        const Group grad = load_group(a.grad, i);
        const Group old_m = with_master || a.m.needs_amax() ? load_state(a.m, i) : zeros;
        const Group old_v = with_master || a.v.needs_amax() ? load_state(a.v, i) : zeros;
        const Group old_p = with_master ? load_state(a.master, i) : zeros;
#pragma unroll
        for (u32 k = 0; k < GROUP; k++) {
            if (i + k >= a.elements()) break;
            const f32 g = step.gradient(grad.v[k]);
            const f32 new_m = step.first_moment(old_m.v[k], inverses.m, g);
            const f32 new_v = step.second_moment(old_v.v[k], inverses.v, g);
            m = larger(m, magnitude_bits(new_m));
            v = larger(v, magnitude_bits(new_v));
            if (with_master) {
                const f32 new_p = step.master(old_p.v[k], inverses.master, new_m, new_v);
                master = larger(master, magnitude_bits(new_p));
            }
        }
    }
};

DEVICE void raise_amax(const State& x, u32* amax, u32 largest) {
    if (!x.needs_amax()) return;
    largest = block_max(largest);
    if (threadIdx.x == 0) atomic_max(amax, largest < INFINITY_BITS ? largest : INFINITY_BITS);
}

DEVICE void find_amaxes(const AdamW& a, u32 block) {
    if (a.skips()) return;
    const Step step(a);
    const Inverses inverses = *a.inverses;
    const u64 first = (u64(block) * ROUNDS * blockDim.x + threadIdx.x) * GROUP;
    Maxima maxima;
#pragma unroll 1
    for (u32 round = 0; round < ROUNDS; round++) {
        maxima.take(a, step, inverses, first + u64(round) * blockDim.x * GROUP);
    }
    raise_amax(a.master, a.amaxes, maxima.master);
    raise_amax(a.m, a.amaxes + 1, maxima.m);
    raise_amax(a.v, a.amaxes + 2, maxima.v);
}

DEVICE void store_scale(const State& x, f32 scale) {
    if (x.rule != EXPAND) store(x.scale, 0, scale);
}

DEVICE void store_states(const AdamW& a, u32 block) {
    if (a.skips()) return;
    const Step step(a);
    const Inverses& inverses = *a.inverses;
    const f32 inverse_p = inverse_of(a.master, inverses.master), scale_p = new_scale(a.master, a.amaxes[0]);
    const f32 inverse_m = inverse_of(a.m, inverses.m), scale_m = new_scale(a.m, a.amaxes[1]);
    const f32 inverse_v = inverse_of(a.v, inverses.v), scale_v = new_scale(a.v, a.amaxes[2]);
    const u64 i = thread_number(block) * GROUP;
    const Group grad = load_group(a.grad, i);
    Group p = load_state(a.master, i), m = load_state(a.m, i), v = load_state(a.v, i);
    for (u32 k = 0; k < GROUP; k++) {
        const bool exists = i + k < a.elements();
        const f32 g = step.gradient(grad.v[k]);
        m.v[k] = exists ? step.first_moment(m.v[k], inverse_m, g) : 0.0f;
        v.v[k] = exists ? step.second_moment(v.v[k], inverse_v, g) : 0.0f;
        p.v[k] = exists ? step.master(p.v[k], inverse_p, m.v[k], v.v[k]) : 0.0f;
    }
    store_state(a.master, i, p, scale_p, a.noise, MASTER);
    store_state(a.m, i, m, scale_m, a.noise, FIRST_MOMENT);
    store_state(a.v, i, v, scale_v, a.noise, SECOND_MOMENT);
    if (i != 0) return;
    store_scale(a.master, scale_p);
    store_scale(a.m, scale_m);
    store_scale(a.v, scale_v);
}

// What all entries take first.
#define ARGUMENTS                                                                                                      \
    grad, grad_scale_inv, clip, corrections, skip, master, master_scale, m, m_scale, v, v_scale, master_rule, m_rule,  \
        v_rule, lr, beta1, beta2, eps, decay, amaxes, phases

// The arguments of an entry, put together.
DEVICE AdamW adamw_of(View grad, View grad_scale_inv, View clip, View corrections, View skip, View master,
    View master_scale, View m, View m_scale, View v, View v_scale, u32 master_rule, u32 m_rule, u32 v_rule, f32 lr,
    f32 beta1, f32 beta2, f32 eps, f32 decay, View amaxes, u32 phases,
    u32 stochastic, u64 seed, u32 tensor, u32 step, u64 first, void* scratch) {
    // As was checked; so that they take the registers of one.
    grad.elements = m.elements = v.elements = master.elements;
    return {grad, grad_scale_inv, clip, corrections, skip, {master, master_scale, master_rule}, {m, m_scale, m_rule},
        {v, v_scale, v_rule}, lr, beta1, beta2, eps, decay, static_cast<Inverses*>(scratch), amaxes.as<u32>(), phases,
        {stochastic, seed, tensor, step, first}};
}

DEVICE AdamW adamw_of(View grad, View grad_scale_inv, View clip, View corrections, View skip, View master,
    View master_scale, View m, View m_scale, View v, View v_scale, u32 master_rule, u32 m_rule, u32 v_rule, f32 lr,
    f32 beta1, f32 beta2, f32 eps, f32 decay, View amaxes, u32 phases, void* scratch) {
    return adamw_of(ARGUMENTS, 0, 0, 0, 0, 0, scratch);
}

extern "C" __global__ void __launch_bounds__(32) adamw_begin(View grad, View grad_scale_inv, View clip,
    View corrections, View skip, View master, View master_scale, View m, View m_scale, View v, View v_scale,
    u32 master_rule, u32 m_rule, u32 v_rule, f32 lr, f32 beta1, f32 beta2, f32 eps, f32 decay, View amaxes, u32 phases,
    void* scratch) {
    begin(adamw_of(ARGUMENTS, scratch));
}

extern "C" __global__ void __launch_bounds__(256) adamw_amax(View grad, View grad_scale_inv, View clip,
    View corrections, View skip, View master, View master_scale, View m, View m_scale, View v, View v_scale,
    u32 master_rule, u32 m_rule, u32 v_rule, f32 lr, f32 beta1, f32 beta2, f32 eps, f32 decay, View amaxes, u32 phases,
    void* scratch) {
    find_amaxes(adamw_of(ARGUMENTS, scratch), blockIdx.x);
}

extern "C" __global__ void __launch_bounds__(256) adamw_store(View grad, View grad_scale_inv, View clip,
    View corrections, View skip, View master, View master_scale, View m, View m_scale, View v, View v_scale,
    u32 master_rule, u32 m_rule, u32 v_rule, f32 lr, f32 beta1, f32 beta2, f32 eps, f32 decay, View amaxes, u32 phases,
    void* scratch) {
    store_states(adamw_of(ARGUMENTS, scratch), blockIdx.x);
}

// In these arguments are in registers. For `amax` ptxas is told of three blocks a multiprocessor: it spills in aiming
// at four.
extern "C" __global__ void __launch_bounds__(32) adamw_begin_many(const u8* __restrict__ launches,
    const u32* __restrict__ first_blocks, u32 count) {
    run_many<decltype(adamw_begin)>(launches, first_blocks, count,
        [](u32, auto... arguments) { begin(adamw_of(arguments...)); });
}

extern "C" __global__ void __launch_bounds__(256, 3) adamw_amax_many(const u8* __restrict__ launches,
    const u32* __restrict__ first_blocks, u32 count) {
    run_many<decltype(adamw_amax)>(launches, first_blocks, count,
        [](u32 block, auto... arguments) { find_amaxes(adamw_of(arguments...), block); });
}

extern "C" __global__ void __launch_bounds__(256) adamw_store_many(const u8* __restrict__ launches,
    const u32* __restrict__ first_blocks, u32 count) {
    run_many<decltype(adamw_store)>(launches, first_blocks, count,
        [](u32 block, auto... arguments) { store_states(adamw_of(arguments...), block); });
}

extern "C" __global__ void __launch_bounds__(32) adamw_stochastic_begin(View grad, View grad_scale_inv, View clip,
    View corrections, View skip, View master, View master_scale, View m, View m_scale, View v, View v_scale,
    u32 master_rule, u32 m_rule, u32 v_rule, f32 lr, f32 beta1, f32 beta2, f32 eps, f32 decay, View amaxes, u32 phases,
    u32 stochastic, u64 seed, u32 tensor, u32 step, u64 first, void* scratch) {
    begin(adamw_of(ARGUMENTS, stochastic, seed, tensor, step, first, scratch));
}

extern "C" __global__ void __launch_bounds__(256) adamw_stochastic_amax(View grad, View grad_scale_inv, View clip,
    View corrections, View skip, View master, View master_scale, View m, View m_scale, View v, View v_scale,
    u32 master_rule, u32 m_rule, u32 v_rule, f32 lr, f32 beta1, f32 beta2, f32 eps, f32 decay, View amaxes, u32 phases,
    u32 stochastic, u64 seed, u32 tensor, u32 step, u64 first, void* scratch) {
    find_amaxes(adamw_of(ARGUMENTS, stochastic, seed, tensor, step, first, scratch), blockIdx.x);
}

extern "C" __global__ void __launch_bounds__(256) adamw_stochastic_store(View grad, View grad_scale_inv, View clip,
    View corrections, View skip, View master, View master_scale, View m, View m_scale, View v, View v_scale,
    u32 master_rule, u32 m_rule, u32 v_rule, f32 lr, f32 beta1, f32 beta2, f32 eps, f32 decay, View amaxes, u32 phases,
    u32 stochastic, u64 seed, u32 tensor, u32 step, u64 first, void* scratch) {
    store_states(adamw_of(ARGUMENTS, stochastic, seed, tensor, step, first, scratch), blockIdx.x);
}

extern "C" __global__ void __launch_bounds__(32) adamw_stochastic_begin_many(const u8* __restrict__ launches,
    const u32* __restrict__ first_blocks, u32 count) {
    run_many<decltype(adamw_stochastic_begin)>(launches, first_blocks, count,
        [](u32, auto... arguments) { begin(adamw_of(arguments...)); });
}

extern "C" __global__ void __launch_bounds__(256, 3) adamw_stochastic_amax_many(const u8* __restrict__ launches,
    const u32* __restrict__ first_blocks, u32 count) {
    run_many<decltype(adamw_stochastic_amax)>(launches, first_blocks, count,
        [](u32 block, auto... arguments) { find_amaxes(adamw_of(arguments...), block); });
}

extern "C" __global__ void __launch_bounds__(256) adamw_stochastic_store_many(const u8* __restrict__ launches,
    const u32* __restrict__ first_blocks, u32 count) {
    run_many<decltype(adamw_stochastic_store)>(launches, first_blocks, count,
        [](u32 block, auto... arguments) { store_states(adamw_of(arguments...), block); });
}
