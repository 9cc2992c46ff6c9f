// Token embedding: rows of a table, and the sum of gradients per row.
//
// Contract: embedding is exact and moves each row of y once, with the row of the table that it copies.
//
// embedding_backward is exact given order. A list in scratch has the places of every token, so that dy and dtable move
// once:
//   counts: how often each token stands, and for each place, as which of its token's arrivals it was counted
//   starts: a run of the list for every token, in any order of tokens
//   fill:   each place into its token's run, in the order of arrival
//   rank:   each place to where it belongs: behind those of its run that are smaller
//   sums:   rows of dy in the order of the run
// That moves about 28 bytes a place and 20 bytes a token more, and rank compares each two places of the same token: of
// n places n^2 times the sum of the squares of the tokens' shares, which is n^2 where all are the same.
// expects: atom.global.add.u32, add.rn.f32

#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(256) embedding(View tokens, View table, View y, u32 cols,
    u32 first, u32 vocabulary) {
    const u64 groups = ceil_div(cols, GROUP);
    if (thread_number() >= tokens.elements * groups) return;
    const u64 t = thread_number() / groups, j = thread_number() % groups * GROUP;
    const u64 token = tokens.as<u32>()[t];
    const View row = part(y, t * cols, cols);
    // What is before the first row wraps around.
    if (token - first < table.elements / cols) {
        store_group(row, j, load_group(part(table, (token - first) * cols, cols), j));
    } else {
        // The row of another member of the group, or of nobody.
        store_group(row, j, group_of([=](u32) { return token < vocabulary ? 0.0f : nan_value(); }));
    }
}

// The lists. Places are below 2^32, as their numbers are.
struct Lists {
    u64 places, vocabulary, first;
    const u32* tokens;
    u32* memory;

    DEVICE Lists(const View& tokens, const View& dtable, u32 cols, u32 first, void* scratch)
        : places(tokens.elements), vocabulary(dtable.elements / cols), first(first), tokens(tokens.as<u32>()),
          memory(static_cast<u32*>(scratch)) {}

    // The row of the token at a place; what is before the first one wraps around, beyond the vocabulary.
    DEVICE u64 token(u64 place) const { return tokens[place] - first; }

    // How much of the list is given to runs.
    DEVICE u32* given() const { return memory; }
    DEVICE u32* counts() const { return memory + 1; }
    DEVICE u32* starts() const { return counts() + vocabulary; }
    DEVICE u32* unordered() const { return starts() + vocabulary; }
    // Arrivals are needed until places are filled in, the list after that.
    DEVICE u32* arrivals() const { return unordered() + places; }
    DEVICE u32* ordered() const { return arrivals(); }
};

extern "C" __global__ void __launch_bounds__(256)
    embedding_backward_clear(View tokens, View dy, View dtable, u32 cols, u32 first, void* scratch) {
    const Lists lists(tokens, dtable, cols, first, scratch);
    if (thread_number() == 0) *lists.given() = 0;
    if (thread_number() < lists.vocabulary) lists.counts()[thread_number()] = 0;
}

extern "C" __global__ void __launch_bounds__(256)
    embedding_backward_counts(View tokens, View dy, View dtable, u32 cols, u32 first, void* scratch) {
    const Lists lists(tokens, dtable, cols, first, scratch);
    const u64 t = thread_number();
    if (t >= lists.places) return;
    const u64 token = lists.token(t);
    if (token < lists.vocabulary) lists.arrivals()[t] = atomic_add(lists.counts() + token, 1u);
}

extern "C" __global__ void __launch_bounds__(256)
    embedding_backward_starts(View tokens, View dy, View dtable, u32 cols, u32 first, void* scratch) {
    const Lists lists(tokens, dtable, cols, first, scratch);
    const u64 token = thread_number();
    if (token >= lists.vocabulary) return;
    const u32 count = lists.counts()[token];
    if (count > 0) lists.starts()[token] = atomic_add(lists.given(), count);
}

extern "C" __global__ void __launch_bounds__(256)
    embedding_backward_fill(View tokens, View dy, View dtable, u32 cols, u32 first, void* scratch) {
    const Lists lists(tokens, dtable, cols, first, scratch);
    const u64 t = thread_number();
    if (t >= lists.places) return;
    const u64 token = lists.token(t);
    if (token < lists.vocabulary) lists.unordered()[lists.starts()[token] + lists.arrivals()[t]] = u32(t);
}

extern "C" __global__ void __launch_bounds__(256)
    embedding_backward_rank(View tokens, View dy, View dtable, u32 cols, u32 first, void* scratch) {
    const Lists lists(tokens, dtable, cols, first, scratch);
    const u64 t = thread_number();
    if (t >= lists.places) return;
    const u64 token = lists.token(t);
    if (token >= lists.vocabulary) return;
    const u32 start = lists.starts()[token], count = lists.counts()[token];
    const u32* run = lists.unordered() + start;
    u32 rank = 0;
#pragma unroll 4
    for (u32 k = 0; k < count; k++) rank += run[k] < t ? 1 : 0;
    lists.ordered()[start + rank] = u32(t);
}

// Columns that a thread sums side by side, 128 apart.
constexpr u32 COLUMNS = 4;

// The terms of columns j, j + 128, ... of row `row` of dy; zeros beyond the last.
DEVICE Values<COLUMNS> terms_of(const View& dy, u64 row, u64 j, u32 cols) {
    Values<COLUMNS> terms;
#pragma unroll
    for (u32 c = 0; c < COLUMNS; c++) {
        const u64 column = j + c * LANES;
        terms.v[c] = column < cols ? load(dy, row * cols + column) : 0.0f;
    }
    return terms;
}

DEVICE void store_sums(const View& dtable, u64 token, u64 j, u32 cols, const Values<COLUMNS>& sums) {
#pragma unroll
    for (u32 c = 0; c < COLUMNS; c++) {
        const u64 column = j + c * LANES;
        if (column < cols) store(dtable, token * cols + column, sums.v[c]);
    }
}

// dtable[w] = the sum of dy[t] over the places t of w, ascending
extern "C" __global__ void __launch_bounds__(128)
    embedding_backward_sums(View tokens, View dy, View dtable, u32 cols, u32 first, void* scratch) {
    const Lists lists(tokens, dtable, cols, first, scratch);
    const u64 tiles = ceil_div(cols, LANES * COLUMNS);
    for_rows(lists.vocabulary * tiles, [&](u64 block) {
        const u64 token = block / tiles, j = block % tiles * LANES * COLUMNS + threadIdx.x;
        const u32 count = lists.counts()[token];
        const u32* run = lists.ordered() + (count > 0 ? lists.starts()[token] : 0);
        Values<COLUMNS> sums = {};
        by_float(dy, [&](const View& dy) {
            sums = ascending_sums<COLUMNS>(count, [&](u64 k) { return terms_of(dy, run[k], j, cols); });
        });
        store_sums(dtable, token, j, cols, sums);
    });
}
