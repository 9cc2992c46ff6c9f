// Rotary position embedding, on queries and keys in place.
//
// Contract: exact. For the first two of the three parts of qkv [tokens, 3, heads, head_dim], a token at position
// p = its number mod context, and every pair (a, b) = (element j, element j + head_dim / 2) of a head:
//
//     a' = a * cos[p, j] - b * sin[p, j]          b' = b * cos[p, j] + a * sin[p, j]
//
// where the inverse takes -sin. Moves queries and keys once, read and written; the tables stay in caches.
// expects: mul.rn.f32, add.rn.f32

#include "ptx/arith.cuh"
#include "view.cuh"

// What one thread turns: up to eight pairs of a head.
struct Pairs {
    u64 token;
    // Of the queries first, then of the keys.
    u64 head;
    u64 first;

    DEVICE Pairs(u32 heads, u32 half) {
        const u64 groups = ceil_div(half, GROUP);
        first = thread_number() % groups * GROUP;
        head = thread_number() / groups % (2 * u64(heads));
        token = thread_number() / groups / (2 * u64(heads));
    }
};

extern "C" __global__ void __launch_bounds__(256)
    rope(View qkv, View cos, View sin, u32 tokens, u32 context, u32 heads, u32 head_dim, u32 inverse) {
    const u32 half = head_dim / 2;
    const Pairs at(heads, half);
    if (at.token >= tokens) return;
    const u64 head = (at.token * 3 * heads + at.head) * head_dim, position = at.token % context;
    const View left = part(qkv, head, half), right = part(qkv, head + half, half);
    Group a = load_group(left, at.first), b = load_group(right, at.first);
    const Group c = load_group(part(cos, position * half, half), at.first);
    const Group s = load_group(part(sin, position * half, half), at.first);
#pragma unroll
    for (u32 k = 0; k < GROUP; k++) {
        const f32 x = a.v[k], y = b.v[k], turn = inverse == 1 ? -s.v[k] : s.v[k];
        a.v[k] = sub_rn(mul_rn(x, c.v[k]), mul_rn(y, turn));
        b.v[k] = add_rn(mul_rn(y, c.v[k]), mul_rn(x, turn));
    }
    store_group(left, at.first, a);
    store_group(right, at.first, b);
}
