// The shim's threads as threads of the system, for sanitizers.
#ifdef SHIM_THREADS

#include "shim/cuda.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

__thread ShimIndex threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr unsigned WARP = 32;

// Members that have ended are not waited for.
class Barrier {
  public:
    explicit Barrier(unsigned members) : members(members) {}

    unsigned arrive() {
        std::unique_lock<std::mutex> lock(mutex);
        const unsigned now = generation;
        if (++arrived == members) {
            release();
        } else {
            released.wait(lock, [&] { return generation != now; });
        }
        return now;
    }

    void leave() {
        std::lock_guard<std::mutex> lock(mutex);
        members--;
        if (members > 0 && arrived == members) release();
    }

  private:
    void release() {
        arrived = 0;
        generation++;
        released.notify_all();
    }

    std::mutex mutex;
    std::condition_variable released;
    unsigned members, arrived = 0, generation = 0;
};

struct Warp {
    explicit Warp(unsigned members) : barrier(members) {}
    Barrier barrier;
    unsigned slots[WARP] = {};
};

struct Block {
    explicit Block(unsigned threads) : barrier(threads) {
        for (unsigned first = 0; first < threads; first += WARP) {
            warps.push_back(std::make_unique<Warp>(threads - first < WARP ? threads - first : WARP));
        }
    }
    Barrier barrier;
    std::vector<std::unique_ptr<Warp>> warps;
};

thread_local Block* current;
// Shared memory is one for the process, so one block runs at a time.
std::mutex one_block;

void run_block(void (*body)(const unsigned char*), const unsigned char* args, ShimIndex grid, unsigned threads, unsigned index) {
    Block block(threads);
    std::vector<std::thread> all;
    for (unsigned thread = 0; thread < threads; thread++) {
        all.emplace_back([&, thread] {
            current = &block;
            gridDim = grid;
            blockDim.x = threads;
            blockIdx.x = index;
            threadIdx.x = thread;
            body(args);
            block.barrier.leave();
            block.warps[thread / WARP]->barrier.leave();
        });
    }
    for (std::thread& thread : all) thread.join();
}

} // namespace

void __syncthreads() { current->barrier.arrive(); }

void __syncwarp() { current->warps[threadIdx.x / WARP]->barrier.arrive(); }

unsigned shim_exchange(unsigned value, unsigned lane) {
    Warp& warp = *current->warps[threadIdx.x / WARP];
    warp.slots[threadIdx.x % WARP] = value;
    warp.barrier.arrive();
    const unsigned other = warp.slots[lane];
    warp.barrier.arrive();
    return other;
}

void shim_run(void (*body)(const unsigned char*), const unsigned char* args, unsigned grid, unsigned block, unsigned first,
              unsigned last) {
    std::lock_guard<std::mutex> lock(one_block);
    for (unsigned index = first; index < last; index++) run_block(body, args, ShimIndex{grid}, block, index);
}

#endif
