// Quantisation in blocks of neighbours that share a factor (DeepSeek-V3, arXiv 2412.19437; OCP Microscaling Formats 1.0).
//
// Contract: exact. Each argument is moved once: values wait in registers until the largest magnitude of their block is
// known. A tile or an MX block is held by neighbours of a warp, a block of 128 x 128 and 64 tiles of 128 x 1 by a block of
// threads.
// expects: cvt.rn.satfinite.e4m3x2.f32, cvt.rn.satfinite.e5m2x2.f32, cvt.rn.f16x2.e4m3x2, cvt.f32.f16, div.rn.f32
// expects: redux.sync.max.u32, shfl.sync, prmt.b32

#include "e5m6.cuh"
#include "factor.cuh"
#include "tally.cuh"
#include "turn.cuh"

// Elements along a tile and along either side of a block, and along an MX block.
constexpr u32 SIDE = 128, MX = 32;
// Groups that a thread takes before its block tells of them.
constexpr u32 ROUNDS = 4;
// Rows apart that a thread's groups are in a block of 128 x 128, and in tiles of 128 x 1.
constexpr u32 BLOCK_ROWS = 32, TURNED_ROWS = 32;

// The arguments of a cast.
struct Blocks {
    View x, code, scale_inv, amax, counts;
    u32 rows, cols, rule, divide;
};

// The largest magnitude that rounds to a finite value: the tie above the maximum goes to it where its code is even.
DEVICE f32 last_in_range(u32 dtype) { return dtype == E4M3 ? 464.0f : from_bits(0x476FFFFF); }

DEVICE u32 largest_finite(const Group& g) {
    u32 largest = 0;
    for (u32 k = 0; k < GROUP; k++) largest = larger(largest, finite_bits(g.v[k]));
    return largest;
}

// The largest of `LANES` neighbours in a warp, in each of them.
template <u32 LANES> DEVICE u32 neighbours_max(u32 value) {
#pragma unroll
    for (u32 distance = LANES / 2; distance > 0; distance /= 2) {
        value = larger(value, from_lane(value, lane_number() ^ distance));
    }
    return value;
}

// Divides a group by its factor.
DEVICE void scale_down(Group& g, const Divisor& by, u32 dtype, Tally& tally) {
    const f32 in_range = last_in_range(dtype), zero = vanishing(dtype);
#pragma unroll
    for (u32 k = 0; k < GROUP; k++) {
        const f32 scaled = by.apply(g.v[k]);
        tally.take(g.v[k], absolute(scaled) > in_range, absolute(scaled) <= zero);
        g.v[k] = scaled;
    }
}

// Blocks of one row and `WIDTH` columns.
template <u32 WIDTH> DEVICE void quantize_rows(const Blocks& a) {
    constexpr u32 LANES = WIDTH / GROUP;
    Tally tally = {};
#pragma unroll 1
    for (u32 round = 0; round < ROUNDS; round++) {
        const u64 thread = (u64(blockIdx.x) * ROUNDS + round) * blockDim.x + threadIdx.x;
        const Place at = place_of(thread / LANES, a.rows, a.cols, WIDTH);
        const u32 lane = u32(thread % LANES);
        const u64 col = at.col + lane * GROUP;
        Group g = load_group(row_at(a.x, at, a.cols), col);
        const u32 largest = neighbours_max<LANES>(largest_finite(g));
        const f32 factor = factor_for(a.rule, largest, fp8_max(a.code.dtype));
        scale_down(g, Divisor(factor, a.rule, a.divide != 0), a.code.dtype, tally);
        store_group(row_at(a.code, at, a.cols), col, g);
        if (lane == 0 && at.exists) store_factor(a.scale_inv, thread / LANES, factor);
    }
    record(tally, a.amax, a.counts);
}

// The largest of a block of threads, in each of them.
DEVICE u32 shared_max(u32 value) {
    __shared__ u32 largest;
    value = block_max(value);
    if (threadIdx.x == 0) largest = value;
    __syncthreads();
    return largest;
}

extern "C" __global__ void __launch_bounds__(256) quantize_tile(View x, View code, View scale_inv, View amax,
    View counts, u32 rows, u32 cols, u32 rule, u32 divide) {
    quantize_rows<SIDE>({x, code, scale_inv, amax, counts, rows, cols, rule, divide});
}

extern "C" __global__ void __launch_bounds__(256) quantize_mx(View x, View code, View scale_inv, View amax,
    View counts, u32 rows, u32 cols, u32 rule, u32 divide) {
    quantize_rows<MX>({x, code, scale_inv, amax, counts, rows, cols, rule, divide});
}

extern "C" __global__ void __launch_bounds__(512) quantize_block(View x, View code, View scale_inv, View amax,
    View counts, u32 rows, u32 cols, u32 rule, u32 divide) {
    const u64 across = ceil_div(cols, SIDE);
    const u64 down = across == 0 ? 0 : blockIdx.x / across;
    const u64 first = down * SIDE + threadIdx.x / (SIDE / GROUP);
    const u64 col = (blockIdx.x - down * across) * SIDE + threadIdx.x % (SIDE / GROUP) * GROUP;
    Group g[SIDE / BLOCK_ROWS];
    u32 largest = 0;
#pragma unroll
    for (u32 k = 0; k < SIDE / BLOCK_ROWS; k++) {
        const u64 row = first + k * BLOCK_ROWS;
        g[k] = load_group(part(x, row * cols, row < rows ? cols : 0), col);
        largest = larger(largest, largest_finite(g[k]));
    }
    const f32 factor = factor_for(rule, shared_max(largest), fp8_max(code.dtype));
    const Divisor divisor(factor, rule, divide != 0);
    Tally tally = {};
#pragma unroll
    for (u32 k = 0; k < SIDE / BLOCK_ROWS; k++) {
        const u64 row = first + k * BLOCK_ROWS;
        scale_down(g[k], divisor, code.dtype, tally);
        store_group(part(code, row * cols, row < rows ? cols : 0), col, g[k]);
    }
    if (threadIdx.x == 0 && blockIdx.x < scale_inv.elements) store_factor(scale_inv, blockIdx.x, factor);
    record(tally, amax, counts);
}

// Where the factors of a block's columns are found.
struct Columns {
    u32 largest[TURNED_ROWS / 4][TURNED];
    f32 factor[TURNED];
};

// Leaves the largest of each column of the warp for the others.
DEVICE void share_maxima(Columns& columns, const Group (&g)[SIDE / TURNED_ROWS]) {
    constexpr u32 ACROSS = TURNED / GROUP;
#pragma unroll
    for (u32 j = 0; j < GROUP; j++) {
        u32 largest = 0;
#pragma unroll
        for (u32 k = 0; k < SIDE / TURNED_ROWS; k++) largest = larger(largest, finite_bits(g[k].v[j]));
        largest = larger(largest, from_lane(largest, lane_number() ^ ACROSS));
        largest = larger(largest, from_lane(largest, lane_number() ^ (2 * ACROSS)));
        if (lane_number() < ACROSS) columns.largest[threadIdx.x / WARP][lane_number() * GROUP + j] = largest;
    }
}

extern "C" __global__ void __launch_bounds__(256) quantize_tile_transpose(View x, View code_t, View scale_inv_t,
    u32 rows, u32 cols, u32 rule) {
    __shared__ Tile<SIDE> tile;
    __shared__ Columns columns;
    const TilePlace at = tile_place<SIDE>(cols);
    const u32 first = threadIdx.x / (TURNED / GROUP), col = threadIdx.x % (TURNED / GROUP) * GROUP;
    Group g[SIDE / TURNED_ROWS];
#pragma unroll
    for (u32 k = 0; k < SIDE / TURNED_ROWS; k++) {
        const u64 row = at.row + first + k * TURNED_ROWS;
        g[k] = load_group(part(x, row * cols, row < rows ? cols : 0), at.col + col);
    }
    share_maxima(columns, g);
    __syncthreads();
    if (threadIdx.x < TURNED) {
        u32 largest = 0;
        for (u32 warp = 0; warp < blockDim.x / WARP; warp++) {
            largest = larger(largest, columns.largest[warp][threadIdx.x]);
        }
        const f32 factor = factor_for(rule, largest, fp8_max(code_t.dtype));
        const u64 own = at.col + threadIdx.x;
        columns.factor[threadIdx.x] = factor;
        if (own < cols) store_factor(scale_inv_t, own * ceil_div(rows, SIDE) + at.row / SIDE, factor);
    }
    __syncthreads();
#pragma unroll
    for (u32 j = 0; j < GROUP; j++) {
        const Divisor divisor(columns.factor[col + j], rule, true);
#pragma unroll
        for (u32 k = 0; k < SIDE / TURNED_ROWS; k++) g[k].v[j] = divisor.apply(g[k].v[j]);
    }
#pragma unroll
    for (u32 k = 0; k < SIDE / TURNED_ROWS; k++) {
        tile.put(first + k * TURNED_ROWS, col, codes_of(code_t.dtype, g[k]));
    }
    __syncthreads();
    store_turned(tile, at, code_t, rows, cols);
}

// y = g * s, where blocks are of HEIGHT rows and WIDTH columns.
template <u32 HEIGHT, u32 WIDTH>
DEVICE void dequantize_group(Group g, const Place& at, const View& scale_inv, const View& y, u32 cols) {
    if (!at.exists) return;
    const f32 factor = load(scale_inv, at.row / HEIGHT * ceil_div(cols, WIDTH) + at.col / WIDTH);
#pragma unroll
    for (u32 k = 0; k < GROUP; k++) g.v[k] = mul_rn(g.v[k], factor);
    store_group(row_at(y, at, cols), at.col, g);
}

template <u32 HEIGHT, u32 WIDTH>
DEVICE void dequantize_codes(const View& code, const View& scale_inv, const View& y, u32 rows, u32 cols) {
    const Place at = place_of(thread_number(), rows, cols, GROUP);
    const Group g = load_group(row_at(code, at, cols), at.col);
    dequantize_group<HEIGHT, WIDTH>(g, at, scale_inv, y, cols);
}

extern "C" __global__ void __launch_bounds__(256) dequantize_tile(View code, View scale_inv, View y, u32 rows,
    u32 cols) {
    dequantize_codes<1, SIDE>(code, scale_inv, y, rows, cols);
}

extern "C" __global__ void __launch_bounds__(256) dequantize_block(View code, View scale_inv, View y, u32 rows,
    u32 cols) {
    dequantize_codes<SIDE, SIDE>(code, scale_inv, y, rows, cols);
}

extern "C" __global__ void __launch_bounds__(256) dequantize_mx(View code, View scale_inv, View y, u32 rows,
    u32 cols) {
    dequantize_codes<1, MX>(code, scale_inv, y, rows, cols);
}

extern "C" __global__ void __launch_bounds__(256) quantize_e5m6(View x, View code, View scale_inv, u32 rows, u32 cols) {
    constexpr u32 LANES = SIDE / GROUP;
    const Place at = place_of(thread_number() / LANES, rows, cols, SIDE);
    const u32 lane = threadIdx.x % LANES;
    const u64 col = at.col + lane * GROUP;
    Group g = load_group(row_at(x, at, cols), col);
    const f32 factor = factor_for(UE8M0, neighbours_max<LANES>(largest_finite(g)), 65024.0f);
    const Divisor divisor(factor, UE8M0, true);
#pragma unroll
    for (u32 k = 0; k < GROUP; k++) g.v[k] = divisor.apply(g.v[k]);
    store_packed(row_at(code, at, packed_bytes(cols)), col / 2 * 3, pack(g));
    if (lane == 0 && at.exists) store_factor(scale_inv, thread_number() / LANES, factor);
}

extern "C" __global__ void __launch_bounds__(256) dequantize_e5m6(View code, View scale_inv, View y, u32 rows,
    u32 cols) {
    const Place at = place_of(thread_number(), rows, cols, GROUP);
    const Packed packed = load_packed(row_at(code, at, packed_bytes(cols)), at.col / 2 * 3);
    dequantize_group<1, SIDE>(unpack(packed), at, scale_inv, y, cols);
}
