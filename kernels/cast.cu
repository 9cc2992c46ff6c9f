// Fills, conversions without a scale, transpositions, sums of two tensors.
//
// Contract: exact. fill moves y once; cast, transpose and add move each argument once, a transposition through shared
// memory.
// expects: cvt.rn.satfinite.e4m3x2.f32, cvt.rn.satfinite.e5m2x2.f32, cvt.rn.f16.f32, cvt.f32.f16, add.rn.f32, prmt.b32

#include "ptx/arith.cuh"
#include "turn.cuh"

// Eight bytes of elements that are one value.
DEVICE u64 repeated(u32 dtype, f32 value) {
    switch (dtype) {
    case BF16: return bf16_from(value) * 0x0001000100010001ull;
    case F16: return f16_from(value) * 0x0001000100010001ull;
    case E4M3: return u8(e4m3_pair(value, 0)) * 0x0101010101010101ull;
    case E5M2: return u8(e5m2_pair(value, 0)) * 0x0101010101010101ull;
    // Widening a NaN is the instruction set's choice.
    case F64: return is_nan(value) ? 0x7FFFFFFFE0000000ull : bits(f64(value));
    case U32: return u32(value) * 0x0000000100000001ull;
    case U64: return u64(value);
    default: return bits(canonical(value)) * 0x0000000100000001ull;
    }
}

// Writes an element by its size.
DEVICE void store_low(const View& y, u64 i, u64 pattern) {
    switch (bytes_of(y.dtype)) {
    case 1: y.as<u8>()[i] = u8(pattern); break;
    case 2: y.as<u16>()[i] = u16(pattern); break;
    case 4: y.as<u32>()[i] = u32(pattern); break;
    default: y.as<u64>()[i] = pattern;
    }
}

// y[i] = value
extern "C" __global__ void __launch_bounds__(256) fill(View y, f32 value) {
    const u32 elements = 16 / bytes_of(y.dtype);
    const u64 first = thread_number() * elements, pattern = repeated(y.dtype, value);
    u8* address = y.as<u8>() + thread_number() * 16;
    if (first + elements <= y.elements && is_aligned(address, 16)) {
        const u32 low = u32(pattern), high = u32(pattern >> 32);
        *reinterpret_cast<Words4*>(address) = {{low, high, low, high}};
        return;
    }
    for (u64 i = first; i < first + elements && i < y.elements; i++) store_low(y, i, pattern);
}

// y[i] = x[i]
extern "C" __global__ void __launch_bounds__(256) cast(View x, View y) {
    map(x, y, [](f32 value) { return value; });
}

// Transposes a tile of elements that are whole words T, each by itself: a warp reads and writes neighbours.
template <class T> DEVICE void turn(const View& x, const View& y, u32 rows, u32 cols, T* tile) {
    // One more than a row needs, so that columns lie in different banks.
    constexpr u32 PITCH = TURNED + 4 / sizeof(T);
    const TilePlace at = tile_place<TURNED>(cols);
    const u32 across = threadIdx.x % TURNED, step = blockDim.x / TURNED;
#pragma unroll 8
    for (u32 row = threadIdx.x / TURNED; row < TURNED; row += step) {
        if (at.row + row >= rows || at.col + across >= cols) continue;
        tile[row * PITCH + across] = x.as<T>()[(at.row + row) * cols + at.col + across];
    }
    __syncthreads();
#pragma unroll 8
    for (u32 col = threadIdx.x / TURNED; col < TURNED; col += step) {
        if (at.col + col >= cols || at.row + across >= rows) continue;
        y.as<T>()[(at.col + col) * rows + at.row + across] = tile[across * PITCH + col];
    }
}

// The same of bytes.
DEVICE void turn_bytes(const View& x, const View& y, u32 rows, u32 cols, Tile<TURNED>& tile) {
    const TilePlace at = tile_place<TURNED>(cols);
    for (u32 item = threadIdx.x; item < TURNED * TURNED / GROUP; item += blockDim.x) {
        const u32 row = item / (TURNED / GROUP), col = item % (TURNED / GROUP) * GROUP;
        const u64 elements = at.row + row < rows ? cols : 0;
        tile.put(row, col, load_bytes(part(x, (at.row + row) * cols, elements), at.col + col));
    }
    __syncthreads();
    store_turned(tile, at, y, rows, cols);
}

// y[c, r] = x[r, c]
extern "C" __global__ void __launch_bounds__(256) transpose(View x, View y, u32 rows, u32 cols) {
    __shared__ u32 words[TURNED * (TURNED + 1)];
    switch (bytes_of(x.dtype)) {
    case 1: turn_bytes(x, y, rows, cols, *reinterpret_cast<Tile<TURNED>*>(words)); break;
    case 2: turn(x, y, rows, cols, reinterpret_cast<u16*>(words)); break;
    default: turn(x, y, rows, cols, words);
    }
}

// y[i] = a[i] + b[i]
extern "C" __global__ void __launch_bounds__(256) add(View a, View b, View y) {
    zip(a, b, y, [](f32 left, f32 right) { return add_rn(left, right); });
}
