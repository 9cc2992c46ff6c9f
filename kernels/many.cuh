// Several launches of one kernel as one: a block finds the launch that it is of, and its number in that.
//
// An entry `x` has the form `x_many(launches, first_blocks, count)`. At `launches` lie the arguments of all launches,
// as `x` takes them, each at a multiple of 8 bytes; `first_blocks` has, ascending from 0, the number of each launch's
// first block. A launch without blocks has that of the next.
#pragma once

#include "cuda.cuh"

// Bytes that an argument takes.
template <class T> constexpr u64 SLOT = (sizeof(T) + 7) / 8 * 8;

// Reads arguments of these types one after another, and hands them over behind those that were read.
template <class... P> struct Arguments;

template <> struct Arguments<> {
    template <class F, class... Read> DEVICE static void pass(const u8*, F f, Read... read) { f(read...); }
};

template <class P, class... Rest> struct Arguments<P, Rest...> {
    template <class F, class... Read> DEVICE static void pass(const u8* at, F f, Read... read) {
        Arguments<Rest...>::pass(at + SLOT<P>, f, read..., *reinterpret_cast<const P*>(at));
    }
};

// The parameters of an entry, by its type.
template <class Entry> struct Signature;

template <class... P> struct Signature<void(P...)> : Arguments<P...> {
    static constexpr u64 BYTES = (SLOT<P> + ... + 0);
};

// The last launch whose first block is not behind this one.
DEVICE u32 launch_of(const u32* first_blocks, u32 count, u32 block) {
    u32 found = 0, end = count;
    while (end - found > 1) {
        const u32 middle = found + (end - found) / 2;
        if (first_blocks[middle] <= block) {
            found = middle;
        } else {
            end = middle;
        }
    }
    return found;
}

// f(block, arguments...) for this block's number in its launch, and the arguments that `Entry` would be given there.
template <class Entry, class F> DEVICE void run_many(const u8* launches, const u32* first_blocks, u32 count, F f) {
    const u32 launch = launch_of(first_blocks, count, blockIdx.x);
    Signature<Entry>::pass(launches + launch * Signature<Entry>::BYTES, f, blockIdx.x - first_blocks[launch]);
}
