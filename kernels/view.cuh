// A launch's argument that is memory: its elements, read and written as f32 whatever their type.
//
// Reading widens exactly. Writing rounds to nearest-even once; FP8 saturates, the other formats overflow to infinity, and
// every NaN is canonical. Types are looked at once for eight elements, and all threads see the same.
#pragma once

#include "ptx/convert.cuh"
#include "ptx/memory.cuh"

// In the order of `fp8lm_device::DType`.
enum DType : u32 { F32, F64, F16, BF16, E4M3, E5M2, E8M0, U8, U32, U64 };

struct View {
    void* data;
    u64 elements;
    u32 dtype;
    u32 unused;

    template <class T> DEVICE T* as() const { return static_cast<T*>(data); }
};

// Elements that a thread takes at a time: 16 bytes of BF16.
constexpr u32 GROUP = 8;

struct alignas(16) Group {
    f32 v[GROUP];
};

DEVICE f32 load(const View& x, u64 i) {
    switch (x.dtype) {
    case BF16: return from_bf16(x.as<u16>()[i]);
    case F16: return from_f16(x.as<u16>()[i]);
    case E4M3: return from_e4m3(x.as<u8>()[i]);
    case E5M2: return from_e5m2(x.as<u8>()[i]);
    case E8M0: return from_e8m0(x.as<u8>()[i]);
    default: return x.as<f32>()[i];
    }
}

DEVICE void store(const View& y, u64 i, f32 x) {
    switch (y.dtype) {
    case BF16: y.as<u16>()[i] = bf16_from(x); break;
    case F16: y.as<u16>()[i] = f16_from(x); break;
    case E4M3: y.as<u8>()[i] = u8(e4m3_pair(x, 0)); break;
    case E5M2: y.as<u8>()[i] = u8(e5m2_pair(x, 0)); break;
    default: y.as<f32>()[i] = canonical(x);
    }
}

// f(x) for a float, compiled for each type by itself: loops in it do not ask for the type, so their reads can overlap.
template <class F> DEVICE void by_float(View x, F f) {
    if (x.dtype == BF16) {
        x.dtype = BF16;
        f(x);
    } else {
        x.dtype = F32;
        f(x);
    }
}

// The same for FP8.
template <class F> DEVICE void by_fp8(View x, F f) {
    if (x.dtype == E4M3) {
        x.dtype = E4M3;
        f(x);
    } else {
        x.dtype = E5M2;
        f(x);
    }
}

// The same for what a gradient or a state is kept in.
template <class F> DEVICE void by_state(View x, F f) {
    switch (x.dtype) {
    case E4M3:
    case E5M2: by_fp8(x, f); break;
    case F16:
        x.dtype = F16;
        f(x);
        break;
    default: by_float(x, f);
    }
}

DEVICE u32 bytes_of(u32 dtype) {
    return dtype == F32 || dtype == U32 ? 4 : dtype == BF16 || dtype == F16 ? 2 : dtype == F64 || dtype == U64 ? 8 : 1;
}

// The elements of x from `first` on, so many of them.
DEVICE View part(const View& x, u64 first, u64 elements) {
    return {x.as<u8>() + first * bytes_of(x.dtype), elements, x.dtype, 0};
}

// Whether a whole group lies at i, where one access reaches it.
DEVICE bool holds_group(const View& x, u64 i) {
    const u64 width = bytes_of(x.dtype) >= 2 ? 16 : 8;
    return i + GROUP <= x.elements && is_aligned(x.as<u8>() + i * bytes_of(x.dtype), width);
}

// The elements from i on; zeros where there are none.
DEVICE Group load_group(const View& x, u64 i) {
    Group g;
    if (!holds_group(x, i)) {
        for (u32 k = 0; k < GROUP; k++) g.v[k] = i + k < x.elements ? load(x, i + k) : 0.0f;
        return g;
    }
    switch (x.dtype) {
    case BF16:
    case F16: {
        const Words4 words = *reinterpret_cast<const Words4*>(x.as<u16>() + i);
        for (u32 k = 0; k < GROUP; k++) {
            const u16 code = u16(words.w[k / 2] >> (16 * (k % 2)));
            g.v[k] = x.dtype == BF16 ? from_bf16(code) : from_f16(code);
        }
        break;
    }
    case E4M3:
    case E5M2: {
        const Words2 words = *reinterpret_cast<const Words2*>(x.as<u8>() + i);
        for (u32 k = 0; k < GROUP; k++) {
            const u8 code = u8(words.w[k / 4] >> (8 * (k % 4)));
            g.v[k] = x.dtype == E4M3 ? from_e4m3(code) : from_e5m2(code);
        }
        break;
    }
    default: {
        const Words4* words = reinterpret_cast<const Words4*>(x.as<f32>() + i);
        for (u32 half = 0; half < 2; half++) {
            const Words4 four = words[half];
            for (u32 k = 0; k < 4; k++) g.v[4 * half + k] = from_bits(four.w[k]);
        }
    }
    }
    return g;
}

// The codes in FP8 of a group, the first in the lowest byte.
DEVICE Words2 codes_of(u32 dtype, const Group& g) {
    Words2 words = {};
    for (u32 k = 0; k < GROUP; k += 2) {
        const u32 pair = dtype == E4M3 ? e4m3_pair(g.v[k], g.v[k + 1]) : e5m2_pair(g.v[k], g.v[k + 1]);
        words.w[k / 4] |= pair << (8 * (k % 4));
    }
    return words;
}

// Writes the elements from i on, as many as there are.
DEVICE void store_group(const View& y, u64 i, const Group& g) {
    if (!holds_group(y, i)) {
        for (u32 k = 0; k < GROUP && i + k < y.elements; k++) store(y, i + k, g.v[k]);
        return;
    }
    switch (y.dtype) {
    case BF16:
    case F16: {
        Words4 words = {};
        for (u32 k = 0; k < GROUP; k++) {
            const u32 code = y.dtype == BF16 ? bf16_from(g.v[k]) : f16_from(g.v[k]);
            words.w[k / 2] |= code << (16 * (k % 2));
        }
        *reinterpret_cast<Words4*>(y.as<u16>() + i) = words;
        break;
    }
    case E4M3:
    case E5M2: *reinterpret_cast<Words2*>(y.as<u8>() + i) = codes_of(y.dtype, g); break;
    default: {
        Words4* words = reinterpret_cast<Words4*>(y.as<f32>() + i);
        for (u32 half = 0; half < 2; half++) {
            Words4 four;
            for (u32 k = 0; k < 4; k++) four.w[k] = bits(canonical(g.v[4 * half + k]));
            words[half] = four;
        }
    }
    }
}

// The group of f(0), f(1), ..., f(7).
template <class F> DEVICE Group group_of(F f) {
    Group g;
#pragma unroll
    for (u32 k = 0; k < GROUP; k++) g.v[k] = f(k);
    return g;
}

// y = f(x), this thread's group of it.
template <class F> DEVICE void map(const View& x, const View& y, F f) {
    const u64 i = thread_number() * GROUP;
    if (i >= y.elements) return;
    Group g = load_group(x, i);
    for (u32 k = 0; k < GROUP; k++) g.v[k] = f(g.v[k]);
    store_group(y, i, g);
}

// y = f(a, b), this thread's group of it.
template <class F> DEVICE void zip(const View& a, const View& b, const View& y, F f) {
    const u64 i = thread_number() * GROUP;
    if (i >= y.elements) return;
    Group left = load_group(a, i);
    const Group right = load_group(b, i);
    for (u32 k = 0; k < GROUP; k++) left.v[k] = f(left.v[k], right.v[k]);
    store_group(y, i, left);
}
