// Accesses of 16 bytes, the widest there are, and integer atomics, whose order does not show.
#pragma once

#include "cuda.cuh"

struct alignas(16) Words4 {
    u32 w[4];
};

struct alignas(8) Words2 {
    u32 w[2];
};

DEVICE bool is_aligned(const void* address, u64 bytes) { return reinterpret_cast<u64>(address) % bytes == 0; }

#ifdef __CUDACC__
DEVICE void atomic_max(u32* address, u32 value) { atomicMax(address, value); }
DEVICE void atomic_add(u64* address, u64 value) { atomicAdd(address, value); }
// Returns what was there.
DEVICE u32 atomic_add(u32* address, u32 value) { return atomicAdd(address, value); }
// What others write by atomics.
DEVICE u32 atomic_load(const u32* address) { return *static_cast<const volatile u32*>(address); }
// Writes `value` where `expected` stands.
DEVICE void atomic_replace(u32* address, u32 expected, u32 value) { atomicCAS(address, expected, value); }
#else
DEVICE u32 atomic_load(const u32* address) { return __atomic_load_n(address, __ATOMIC_RELAXED); }
DEVICE void atomic_replace(u32* address, u32 expected, u32 value) {
    __atomic_compare_exchange_n(address, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
DEVICE void atomic_max(u32* address, u32 value) {
    u32 seen = atomic_load(address);
    while (seen < value &&
           !__atomic_compare_exchange_n(address, &seen, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}
DEVICE void atomic_add(u64* address, u64 value) { __atomic_fetch_add(address, value, __ATOMIC_RELAXED); }
DEVICE u32 atomic_add(u32* address, u32 value) { return __atomic_fetch_add(address, value, __ATOMIC_RELAXED); }
#endif
