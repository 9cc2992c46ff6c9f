// Bytes transposed in tiles: read along rows, turned in shared memory, written along columns, eight at a time.
#pragma once

#include "ptx/bytes.cuh"
#include "view.cuh"

// Columns of a tile.
constexpr u32 TURNED = 64;

// Which tile of a matrix a block has.
struct TilePlace {
    u64 row, col;
};

template <u32 ROWS> DEVICE TilePlace tile_place(u32 cols) {
    const u32 across = u32(ceil_div(cols, TURNED));
    return across == 0 ? TilePlace{} : TilePlace{u64(blockIdx.x / across) * ROWS, u64(blockIdx.x % across) * TURNED};
}

// In shared memory. A row has one word more than it needs, so that columns lie in different banks.
template <u32 ROWS> struct Tile {
    u32 words[ROWS][TURNED / 4 + 1];

    DEVICE void put(u32 row, u32 col, const Words2& bytes) {
        words[row][col / 4] = bytes.w[0];
        words[row][col / 4 + 1] = bytes.w[1];
    }

    DEVICE Square square(u32 row, u32 col) const {
        return {{words[row][col / 4], words[row + 1][col / 4], words[row + 2][col / 4], words[row + 3][col / 4]}};
    }
};

// The eight bytes from i on; zeros where there are none.
DEVICE Words2 load_bytes(const View& x, u64 i) {
    if (holds_group(x, i)) return *reinterpret_cast<const Words2*>(x.as<u8>() + i);
    Words2 words = {};
    for (u32 k = 0; k < GROUP; k++) {
        if (i + k < x.elements) words.w[k / 4] |= u32(x.as<u8>()[i + k]) << (8 * (k % 4));
    }
    return words;
}

// Writes eight bytes from i on, as many as there are.
DEVICE void store_bytes(const View& y, u64 i, const Words2& bytes) {
    if (holds_group(y, i)) {
        *reinterpret_cast<Words2*>(y.as<u8>() + i) = bytes;
        return;
    }
    for (u32 k = 0; k < GROUP; k++) {
        if (i + k < y.elements) y.as<u8>()[i + k] = u8(bytes.w[k / 4] >> (8 * (k % 4)));
    }
}

// Writes a tile of x [rows, cols] where it belongs in y [cols, rows]. The whole block has filled it.
template <u32 ROWS> DEVICE void store_turned(const Tile<ROWS>& tile, TilePlace at, const View& y, u32 rows, u32 cols) {
    // Neighbours in a warp write one after another.
    constexpr u32 DOWN = ROWS / GROUP;
    for (u32 item = threadIdx.x; item < DOWN * (TURNED / 4); item += blockDim.x) {
        const u32 row = item % DOWN * GROUP, col = item / DOWN * 4;
        const Square upper = transpose(tile.square(row, col)), lower = transpose(tile.square(row + 4, col));
        for (u32 k = 0; k < 4 && at.col + col + k < cols; k++) {
            store_bytes(part(y, (at.col + col + k) * rows, rows), at.row + row, {{upper.rows[k], lower.rows[k]}});
        }
    }
}
