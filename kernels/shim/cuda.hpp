// The part of CUDA that the kernels use, on the CPU.
//
// A block's threads run one after another on one thread of the system, each up to its next barrier: a kernel without
// barriers is a plain loop. What every thread must reach and some do not is reported, and the process aborted, where a GPU
// would hang. For sanitizers (SHIM_ONE_BLOCK) one block runs at a time, so that shared memory is one for the process.
#pragma once

#include <cstring>

struct ShimIndex {
    unsigned x;
};

extern __thread ShimIndex threadIdx, blockIdx, blockDim, gridDim;

#define __global__ __attribute__((visibility("hidden")))
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#ifdef SHIM_ONE_BLOCK
#define __shared__ static
#else
#define __shared__ static thread_local
#endif
#define __launch_bounds__(...)

using std::memcpy;

// Waits until every thread of the block is here.
void __syncthreads();

// Waits until every thread of the warp is here.
void __syncwarp();

// What lane `lane` of the warp passed as `value`; every lane takes part.
unsigned shim_exchange(unsigned value, unsigned lane);

// Runs blocks `first` to `last` of a grid, each thread once through `body`.
void shim_run(void (*body)(const unsigned char*), const unsigned char* args, unsigned grid, unsigned block, unsigned first,
              unsigned last);
