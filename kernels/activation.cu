// Activation functions of the feed-forward network: docs/numerics.md, section of that name.
//
// Contract: exact. Each element of the arguments in memory is moved once. A row of SwiGLU's x, and of its gradient, is
// its gates followed by its ups:
//
//     gelu        t = tanh((K * x) * (1 + C * (x * x)))       y = (0.5 * x) * (1 + t)
//     swiglu      silu = gate / (1 + exp(-gate))              y = silu * up
// expects: mul.rn.f32, add.rn.f32, fma.rn.f32, div.rn.f32

#include "math.cuh"
#include "view.cuh"

// sqrt(2 / pi), 0.044715 and three times that.
constexpr u32 ROOT_2_OVER_PI = 0x3F4C422A, CUBIC = 0x3D372713, CUBIC_SLOPE = 0x3E095D4F;

// a * (1 + c * x^2)
DEVICE f32 with_cubic(f32 a, u32 c, f32 x) {
    return mul_rn(a, add_rn(1.0f, mul_rn(from_bits(c), mul_rn(x, x))));
}

DEVICE f32 gelu_tanh(f32 x) { return tanh_f32(with_cubic(mul_rn(from_bits(ROOT_2_OVER_PI), x), CUBIC, x)); }

DEVICE f32 gelu_slope(f32 x) {
    const f32 t = gelu_tanh(x);
    const f32 inner_slope = with_cubic(from_bits(ROOT_2_OVER_PI), CUBIC_SLOPE, x);
    const f32 tanh_slope = mul_rn(mul_rn(0.5f, x), sub_rn(1.0f, mul_rn(t, t)));
    return add_rn(mul_rn(0.5f, add_rn(1.0f, t)), mul_rn(tanh_slope, inner_slope));
}

// y[i] = gelu(x[i])
extern "C" __global__ void __launch_bounds__(256) gelu(View x, View y) {
    map(x, y, [](f32 x) { return mul_rn(mul_rn(0.5f, x), add_rn(1.0f, gelu_tanh(x))); });
}

// dx[i] = dy[i] * gelu'(x[i])
extern "C" __global__ void __launch_bounds__(256) gelu_backward(View dy, View x, View dx) {
    zip(dy, x, dx, [](f32 dy, f32 x) { return mul_rn(dy, gelu_slope(x)); });
}

// This thread's group of the halves of a row.
struct Place {
    u64 row, column;

    DEVICE explicit Place(u32 columns) {
        const u64 groups = ceil_div(columns, GROUP);
        row = groups == 0 ? 0 : thread_number() / groups;
        column = groups == 0 ? 0 : thread_number() % groups * GROUP;
    }
};

// Of a row of gates and ups the gates, which are half 0, or the ups.
DEVICE View half_row(const View& x, u64 row, u32 columns, u32 half) {
    return part(x, (2 * row + half) * columns, columns);
}

DEVICE f32 divisor(f32 gate) { return add_rn(1.0f, exp_f32(-gate)); }

// y[r, c] = silu(gate[r, c]) * up[r, c]
extern "C" __global__ void __launch_bounds__(256) swiglu(View x, View y, u32 rows, u32 cols) {
    const Place at(cols);
    if (at.row >= rows) return;
    Group gate = load_group(half_row(x, at.row, cols, 0), at.column);
    const Group up = load_group(half_row(x, at.row, cols, 1), at.column);
#pragma unroll
    for (u32 k = 0; k < GROUP; k++) gate.v[k] = mul_rn(div_rn(gate.v[k], divisor(gate.v[k])), up.v[k]);
    store_group(part(y, at.row * cols, cols), at.column, gate);
}

// dgate = (dy * up) * (sigma + silu * (1 - sigma)) and dup = dy * silu, where sigma = 1 / (1 + exp(-gate))
extern "C" __global__ void __launch_bounds__(256) swiglu_backward(View dy, View x, View dx, u32 rows, u32 cols) {
    const Place at(cols);
    if (at.row >= rows) return;
    const Group gradient = load_group(part(dy, at.row * cols, cols), at.column);
    Group gate = load_group(half_row(x, at.row, cols, 0), at.column);
    Group up = load_group(half_row(x, at.row, cols, 1), at.column);
#pragma unroll
    for (u32 k = 0; k < GROUP; k++) {
        const f32 sigma = div_rn(1.0f, divisor(gate.v[k]));
        const f32 silu = div_rn(gate.v[k], divisor(gate.v[k]));
        const f32 slope = add_rn(sigma, mul_rn(silu, sub_rn(1.0f, sigma)));
        gate.v[k] = mul_rn(mul_rn(gradient.v[k], up.v[k]), slope);
        up.v[k] = mul_rn(gradient.v[k], silu);
    }
    store_group(half_row(dx, at.row, cols, 0), at.column, gate);
    store_group(half_row(dx, at.row, cols, 1), at.column, up);
}
