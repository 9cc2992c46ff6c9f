// The arithmetic of a step of AdamW, and states each in its own format: docs/numerics.md, section AdamW.
#pragma once

#include "expansion.cuh"
#include "stochastic.cuh"

// A tensor kept from step to step, with how its scale follows from its values.
struct State {
    View values, scale;
    u32 rule;

    // Whether its scale follows from the largest magnitude of the tensor.
    DEVICE bool needs_amax() const { return rule == EXACT || rule == POW2; }
};

// What stands in scratch after the first entry: one over the old scales of states whose scale follows from amax.
struct Inverses {
    f32 master, m, v;
};

// What of a step a launch makes: bits of an argument.
enum Phase : u32 { FIND = 1, STORE = 2 };

// What rounds up or down at random, of whom, and with which numbers.
struct Noise {
    // A bit for each state: 1, 2, 4.
    u32 chosen;
    u64 seed;
    u32 tensor, step;
    // The number of the first element's word.
    u64 first;
};

// The arguments of a launch.
struct AdamW {
    View grad, grad_scale_inv, clip, corrections, skip;
    State master, m, v;
    f32 lr, beta1, beta2, eps, decay;
    Inverses* inverses;
    // The bits of the new states' largest magnitudes: of master, m and v.
    u32* amaxes;
    u32 phases;
    Noise noise;

    DEVICE bool skips() const { return skip.as<u32>()[0] != 0; }
    DEVICE u64 elements() const { return master.values.elements; }
};

// The scalars of a step.
struct Step {
    f32 grad_scale_inv, clip, step, root, beta1, rest1, beta2, rest2, eps, decay;

    DEVICE explicit Step(const AdamW& a)
        : grad_scale_inv(load(a.grad_scale_inv, 0)), clip(load(a.clip, 0)),
          step(div_rn(a.lr, load(a.corrections, 0))), root(sqrt_rn(load(a.corrections, 1))), beta1(a.beta1),
          rest1(sub_rn(1.0f, a.beta1)), beta2(a.beta2), rest2(sub_rn(1.0f, a.beta2)), eps(a.eps), decay(a.decay) {}

    DEVICE f32 gradient(f32 grad) const { return mul_rn(mul_rn(grad, grad_scale_inv), clip); }

    DEVICE f32 first_moment(f32 m, f32 inverse, f32 g) const {
        return add_rn(mul_rn(mul_rn(beta1, m), inverse), mul_rn(rest1, g));
    }

    DEVICE f32 second_moment(f32 v, f32 inverse, f32 g) const {
        return add_rn(mul_rn(mul_rn(beta2, v), inverse), mul_rn(rest2, mul_rn(g, g)));
    }

    DEVICE f32 master(f32 p, f32 inverse, f32 m, f32 v) const {
        const f32 direction = div_rn(m, add_rn(div_rn(sqrt_rn(v), root), eps));
        return sub_rn(mul_rn(mul_rn(p, inverse), decay), mul_rn(step, direction));
    }
};

// The largest finite value of a format that has scales.
DEVICE f32 fp_max_of(u32 dtype) { return dtype == F16 ? 65504.0f : dtype == E4M3 ? 448.0f : 57344.0f; }

// What values are multiplied by when read.
DEVICE f32 inverse_of(const State& x, f32 inverse) { return x.needs_amax() ? inverse : 1.0f; }

// The scale that new values are stored under.
DEVICE f32 new_scale(const State& x, u32 amax) {
    return x.needs_amax() ? scale_for(x.rule, amax, fp_max_of(x.values.dtype)) : 1.0f;
}

// The elements from i on, still under the scale of the tensor.
DEVICE Group load_state(const State& x, u64 i) {
    Group g = load_group(x.values, i);
    if (x.rule == EXPAND && i < x.values.elements) {
        const f32* pair = x.scale.as<f32>() + i / EXPANDED * 2;
        decode(range_of(x.values.dtype), {pair[0], pair[1]}, g);
    }
    return g;
}

// Turns new values into those to round to the format of the state; all threads of the warp take part.
DEVICE void spread(const State& x, u64 i, Group& g) {
    const Range range = range_of(x.values.dtype);
    const Fit pair = fit(range, g);
    // All who share the group have read its old pair.
    __syncwarp();
    if (i % EXPANDED == 0 && i < x.values.elements) {
        x.scale.as<f32>()[i / EXPANDED * 2] = pair.largest;
        x.scale.as<f32>()[i / EXPANDED * 2 + 1] = pair.exponent;
    }
    encode(range, pair, g);
}

// Where a state's random words are: its bit among the chosen, and its number in the draw of a step.
struct Draw {
    u32 bit, use;
};

constexpr Draw MASTER = {1, 3}, FIRST_MOMENT = {2, 1}, SECOND_MOMENT = {4, 2};

// Writes the elements from i on under a scale; all threads of the warp take part.
DEVICE void store_state(const State& x, u64 i, Group& g, f32 scale, const Noise& noise, Draw draw) {
    if (x.rule == EXPAND) {
        spread(x, i, g);
    } else {
        for (u32 k = 0; k < GROUP; k++) g.v[k] = mul_rn(g.v[k], scale);
    }
    if (noise.chosen & draw.bit) {
        const Stream stream = {noise.seed, noise.tensor, 8 * noise.step + draw.use};
        round_group(group_words(stream, noise.first + i), x.values.dtype, g);
    }
    store_group(x.values, i, g);
}
