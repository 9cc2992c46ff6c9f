// Causal attention in blocks of 64 queries by 64 keys, forward and backward: docs/numerics.md, section Attention.
//
// Contract: exact given order. A block of threads has 64 queries of one head, or 64 keys, and up to 128 columns of what
// it computes; of a wider head several do, each with all scores. So no sum is shared.
//
//     attention                       per query: key blocks ascending; s, m, l, then o = o * alpha + p v
//     attention_backward_queries      per query: D, kept in scratch; key blocks ascending; dq += ds k
//     attention_backward_keys         per key: query blocks ascending; dv += p do, dk += ds q
//
// Every argument in memory has to be moved once; blocks of keys and queries come from caches again for every block that
// they meet. fma bound the time: 64 * 64 * head_dim for a pair of blocks and product, of which there are two forward,
// three and four backward, one a lane and clock.
// expects: fma.rn.f32, ld.shared.v4.f32, shfl.sync, div.rn.f32

#include "attention.cuh"
#include "math.cuh"
#include "reduce.cuh"

// Rounded to the type of the operands, where that is BF16.
DEVICE f32 rounded(f32 x, const View& qkv) { return qkv.dtype == BF16 ? from_bf16(bf16_from(x)) : x; }

// What a query carries from one block of keys to the next. Four threads share the query, and each has it all.
struct Carry {
    f32 m, l;
};

// What the threads of a query tell each other.
struct Exchange {
    f32 parts[4][POSITIONS];
    f32 alpha[POSITIONS];
};

// The canonical sum of 64 values by four threads, of which this one has those 4 apart: none is -0, so the upper half of
// the lanes adds nothing.
DEVICE f32 sum_of_block(f32 (&mine)[16], Exchange& exchange, u32 query, u32 part) {
#pragma unroll
    for (u32 i = 0; i < 8; i++) mine[i] = add_rn(mine[i], mine[i + 8]);
#pragma unroll
    for (u32 i = 0; i < 4; i++) mine[i] = add_rn(mine[i], mine[i + 4]);
    const f32 lane = add_rn(add_rn(mine[0], mine[2]), add_rn(mine[1], mine[3]));
    // The maxima have been read.
    __syncthreads();
    exchange.parts[part][query] = lane;
    __syncthreads();
    const f32 even = add_rn(exchange.parts[0][query], exchange.parts[2][query]);
    return add_rn(even, add_rn(exchange.parts[1][query], exchange.parts[3][query]));
}

// Turns scores [key, query] into probabilities, rounded, and takes them into l. On the diagonal a query sees no key
// behind its own place.
DEVICE void softmax(Carry& carry, Square& scores, Exchange& exchange, bool diagonal, const View& qkv) {
    const u32 query = threadIdx.x % POSITIONS, part = threadIdx.x / POSITIONS;
    f32 mine[16], m = carry.m;
#pragma unroll
    for (u32 i = 0; i < 16; i++) {
        mine[i] = scores.v[4 * i + part][query];
        if ((!diagonal || 4 * i + part <= query) && mine[i] > m) m = mine[i];
    }
    exchange.parts[part][query] = m;
    __syncthreads();
#pragma unroll
    for (u32 i = 0; i < 4; i++) m = exchange.parts[i][query] > m ? exchange.parts[i][query] : m;
#pragma unroll
    for (u32 i = 0; i < 16; i++) {
        const bool seen = !diagonal || 4 * i + part <= query;
        mine[i] = seen ? exp_f32(sub_rn(mine[i], m)) : 0.0f;
        scores.v[4 * i + part][query] = rounded(mine[i], qkv);
    }
    const f32 alpha = exp_f32(sub_rn(carry.m, m));
    if (part == 0) exchange.alpha[query] = alpha;
    carry = {m, add_rn(mul_rn(carry.l, alpha), sum_of_block(mine, exchange, query, part))};
}

extern "C" __global__ void __launch_bounds__(256)
    attention(View qkv, View o, View lse, u32 batch, u32 context, u32 heads, u32 head_dim, f32 softmax_scale) {
    __shared__ Square weights, memory;
    __shared__ Exchange exchange;
    const Task task = Task(batch, context, heads, head_dim).reversed();
    const Rows q = task.rows(qkv, 0, 3), k = task.rows(qkv, 1, 3), v = task.rows(qkv, 2, 3);
    Carry carry = {-infinity(), 0.0f};
    Sums sums = {};
    for (u64 block = 0; block <= task.block; block++) {
        Part scores = dots(memory, k, block * POSITIONS, q, task.first());
        for_part(scores, [=](f32& s, u32, u32) { s = mul_rn(s, softmax_scale); });
        store_part(weights, scores);
        __syncthreads();
        softmax(carry, weights, exchange, block == task.block, qkv);
#pragma unroll
        for (u32 s = 0; s < SQUARES; s++) {
            for_part(sums.square[s], [&](f32& sum, u32 row, u32) { sum = mul_rn(sum, exchange.alpha[row]); });
        }
        weigh(sums, weights, memory, v, block * POSITIONS, task.column);
    }
    const u64 query = task.first() + threadIdx.x;
    if (threadIdx.x < POSITIONS) {
        exchange.parts[0][threadIdx.x] = carry.l;
        if (query < context && task.column == 0) store(lse, task.place(query), add_rn(carry.m, log_f32(carry.l)));
    }
    __syncthreads();
    write_rows(task.rows(o, 0, 1), task.first(), task.column, sums,
        [&](f32 sum, u32 row) { return div_rn(sum, exchange.parts[0][row]); });
}

// The canonical sum of at most 65,536 values by a warp, each of whose lanes has four of the 128; all get it.
template <class F> DEVICE f32 warp_canonical_sum(u32 n, F value) {
    f32 lanes[4] = {};
    for (u32 i = lane_number(); i < n; i += LANES) {
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            if (i + j * WARP < n) lanes[j] = add_rn(lanes[j], value(i + j * WARP));
        }
    }
    f32 sum = add_rn(add_rn(lanes[0], lanes[2]), add_rn(lanes[1], lanes[3]));
#pragma unroll
    for (u32 width = WARP / 2; width > 0; width /= 2) sum = add_rn(sum, from_next_lane(sum, width));
    return from_lane(sum, 0);
}

// What the gradients of a query's scores are made of.
struct Query {
    f32 lse, d;
};

// Sums of o * do for the queries of the task, a warp one after another; the threads of the first columns keep them.
DEVICE void compute_d(Query* queries, const Task& task, const Rows& o, const Rows& d_o, f32* kept) {
    for (u32 i = threadIdx.x / WARP; i < POSITIONS; i += blockDim.x / WARP) {
        const u64 query = task.first() + i;
        if (query >= task.context) return;
        const f32 sum = warp_canonical_sum(task.head_dim, [&](u32 d) {
            return mul_rn(load(o.x, o.at(query) + d), load(d_o.x, d_o.at(query) + d));
        });
        if (lane_number() != 0) continue;
        queries[i].d = sum;
        if (task.column == 0) kept[task.place(query)] = sum;
    }
}

// A block of queries met by a block of keys, as the rows of a square or as its columns.
struct Meeting {
    const Query* queries;
    // The queries of the block that there are.
    u64 count;
    bool diagonal, rows_are_queries;
    f32 softmax_scale;

    // Turns dots of q and k, and of do and v, into p, and into ds = (p * (dp - D)) * softmax_scale, both rounded.
    DEVICE void differentiate(Part& p, Part& ds, const View& qkv) const {
#pragma unroll
        for (u32 i = 0; i < MINE; i++) {
#pragma unroll
            for (u32 j = 0; j < MINE; j++) {
                const u32 row = my_row() + i, column = my_column() + j;
                const u32 query = rows_are_queries ? row : column, key = rows_are_queries ? column : row;
                const bool seen = query < count && (!diagonal || key <= query);
                const f32 e = exp_f32(sub_rn(mul_rn(p.v[i][j], softmax_scale), queries[query].lse));
                const f32 g = mul_rn(mul_rn(e, sub_rn(ds.v[i][j], queries[query].d)), softmax_scale);
                p.v[i][j] = seen ? rounded(e, qkv) : 0.0f;
                ds.v[i][j] = seen ? rounded(g, qkv) : 0.0f;
            }
        }
    }
};

extern "C" __global__ void __launch_bounds__(256)
    attention_backward_queries(View d_o, View qkv, View o, View lse, View dqkv, u32 batch, u32 context, u32 heads,
        u32 head_dim, f32 softmax_scale, void* scratch) {
    __shared__ Square weights, memory;
    __shared__ Query queries[POSITIONS];
    const Task task = Task(batch, context, heads, head_dim).reversed();
    const Rows q = task.rows(qkv, 0, 3), k = task.rows(qkv, 1, 3), v = task.rows(qkv, 2, 3), g = task.rows(d_o, 0, 1);
    const u64 first = task.first(), count = smaller(context - first, POSITIONS);
    compute_d(queries, task, task.rows(o, 0, 1), g, static_cast<f32*>(scratch));
    if (threadIdx.x < count) queries[threadIdx.x].lse = load(lse, task.place(first + threadIdx.x));
    Sums dq = {};
    for (u64 block = 0; block <= task.block; block++) {
        Part p = dots(memory, k, block * POSITIONS, q, first), ds = dots(memory, v, block * POSITIONS, g, first);
        const Meeting meeting = {queries, count, block == task.block, false, softmax_scale};
        meeting.differentiate(p, ds, qkv);
        store_part(weights, ds);
        weigh(dq, weights, memory, k, block * POSITIONS, task.column);
    }
    write_rows(task.rows(dqkv, 0, 3), first, task.column, dq, [](f32 sum, u32) { return sum; });
}

extern "C" __global__ void __launch_bounds__(256)
    attention_backward_keys(View d_o, View qkv, View o, View lse, View dqkv, u32 batch, u32 context, u32 heads,
        u32 head_dim, f32 softmax_scale, void* scratch) {
    __shared__ Square weights, memory;
    __shared__ Query queries[POSITIONS];
    const Task task(batch, context, heads, head_dim);
    const Rows q = task.rows(qkv, 0, 3), k = task.rows(qkv, 1, 3), v = task.rows(qkv, 2, 3), g = task.rows(d_o, 0, 1);
    Sums dk = {}, dv = {};
    for (u64 block = task.block; block < task.blocks; block++) {
        const u64 first = block * POSITIONS, count = smaller(context - first, POSITIONS);
        if (threadIdx.x < count) {
            const u64 place = task.place(first + threadIdx.x);
            queries[threadIdx.x] = {load(lse, place), static_cast<f32*>(scratch)[place]};
        }
        Part p = dots(memory, q, first, k, task.first()), ds = dots(memory, g, first, v, task.first());
        const Meeting meeting = {queries, count, block == task.block, true, softmax_scale};
        meeting.differentiate(p, ds, qkv);
        store_part(weights, p);
        weigh(dv, weights, memory, g, first, task.column);
        // p has been used.
        __syncthreads();
        store_part(weights, ds);
        weigh(dk, weights, memory, q, first, task.column);
    }
    write_rows(task.rows(dqkv, 1, 3), task.first(), task.column, dk, [](f32 sum, u32) { return sum; });
    write_rows(task.rows(dqkv, 2, 3), task.first(), task.column, dv, [](f32 sum, u32) { return sum; });
}
