// The shim's threads are fibers: each has a stack, and a switch of stacks takes a few instructions.
#include "shim/cuda.hpp"
#include "shim/races.hpp"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

__thread ShimIndex threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr unsigned WARP = 32;
constexpr size_t STACK_BYTES = 64 << 10;
// Instead of a thread's number: the fiber runs none.
constexpr unsigned ENDED = -1u;

// Saves the registers that a function must keep, and goes on where `to` was saved.
extern "C" void shim_switch(void** from, void* to);

#if defined(__x86_64__)
asm(R"(
.text
.type shim_switch, @function
shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size shim_switch, .-shim_switch
)");
// Six registers, and the address to return to; then the stack is as after a call.
void* prepare(char* top, void (*entry)()) {
    void** stack = reinterpret_cast<void**>(top) - 2;
    *stack = reinterpret_cast<void*>(entry);
    return stack - 6;
}
#elif defined(__aarch64__)
asm(R"(
.text
.type shim_switch, %function
shim_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size shim_switch, .-shim_switch
)");
void* prepare(char* top, void (*entry)()) {
    void** stack = reinterpret_cast<void**>(top - 160);
    stack[11] = reinterpret_cast<void*>(entry);
    return stack;
}
#else
#error "the shim knows no way to switch stacks on this processor"
#endif

struct Barrier {
    unsigned members = 0, arrived = 0, generation = 0;
    // What passes it, in turn, is ordered after what arrived: the next generation may arrive before this one has left.
    char passed[2] = {};
};

struct Fiber {
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    void* saved = nullptr;
    void* watched = races::create();
    unsigned thread = 0;
};

// A block while it runs.
struct Block {
    void (*body)(const unsigned char*) = nullptr;
    const unsigned char* args = nullptr;
    unsigned started = 0, finished = 0;
    bool progress = false;
    Barrier block;
    char begun = 0, ended = 0;
    std::vector<Barrier> warps;
    std::vector<unsigned> slots;
    // Of these the first `in_use` stand at a barrier or run.
    std::vector<std::unique_ptr<Fiber>> fibers;
    size_t in_use = 0;
    Fiber* running = nullptr;
    void* scheduler = nullptr;

    void run(unsigned threads);
    void resume(Fiber& fiber);
    void yield();
    void arrive(Barrier& barrier);
    void synchronize(Barrier& barrier);
    void leave(Barrier& barrier);
    void thread_ends(unsigned thread);
};

thread_local Block current;
#ifdef SHIM_ONE_BLOCK
std::mutex one_block;
#endif

void release(Barrier& barrier) {
    barrier.arrived = 0;
    barrier.generation++;
    current.progress = true;
}

void Block::resume(Fiber& fiber) {
    running = &fiber;
    threadIdx.x = fiber.thread;
    void* host = races::current();
    races::enter(fiber.watched);
    shim_switch(&scheduler, fiber.saved);
    races::enter(host);
}

void Block::yield() {
    running->thread = threadIdx.x;
    shim_switch(&running->saved, scheduler);
}

void Block::arrive(Barrier& barrier) {
    const unsigned generation = barrier.generation;
    if (++barrier.arrived == barrier.members) return release(barrier);
    while (barrier.generation == generation) yield();
}

// Arrives, and orders all accesses before it before all after it.
void Block::synchronize(Barrier& barrier) {
    char* passed = &barrier.passed[barrier.generation % 2];
    races::release(passed);
    arrive(barrier);
    races::acquire(passed);
}

void Block::leave(Barrier& barrier) {
    barrier.members--;
    if (barrier.members > 0 && barrier.arrived == barrier.members) release(barrier);
}

void Block::thread_ends(unsigned thread) {
    finished++;
    progress = true;
    leave(block);
    leave(warps[thread / WARP]);
}

// One fiber runs threads until one of them stands at a barrier: the next thread needs a stack of its own. Under watch
// every thread does.
void fiber_main() {
    Block& block = current;
    Fiber& self = *block.running;
    do {
        threadIdx.x = block.started++;
        races::acquire(&block.begun);
        block.body(block.args);
        races::release(&block.ended);
        block.thread_ends(threadIdx.x);
    } while (block.started < blockDim.x && !races::WATCHED);
    self.thread = ENDED;
    shim_switch(&self.saved, block.scheduler);
}

void Block::run(unsigned threads) {
    started = finished = 0;
    block = Barrier{threads, 0, 0};
    warps.assign((threads + WARP - 1) / WARP, Barrier{WARP, 0, 0});
    if (threads % WARP != 0) warps.back().members = threads % WARP;
    slots.resize(2 * warps.size() * WARP);
    in_use = 0;
    races::release(&begun);
    while (started < threads) {
        if (in_use == fibers.size()) fibers.push_back(std::make_unique<Fiber>());
        Fiber& fiber = *fibers[in_use++];
        const size_t top = (reinterpret_cast<size_t>(fiber.stack.get()) + STACK_BYTES) / 64 * 64;
        fiber.saved = prepare(reinterpret_cast<char*>(top), fiber_main);
        resume(fiber);
    }
    while (finished < threads) {
        progress = false;
        for (size_t i = 0; i < in_use; i++) {
            if (fibers[i]->thread != ENDED) resume(*fibers[i]);
        }
        if (!progress) {
            std::fprintf(stderr, "shim: of %u threads of block %u some wait for others that never come\n", threads, blockIdx.x);
            std::abort();
        }
    }
    races::acquire(&ended);
}

} // namespace

void __syncthreads() { current.synchronize(current.block); }

void __syncwarp() { current.synchronize(current.warps[threadIdx.x / WARP]); }

// Two sets of slots in turn: no lane writes one again before all have read it. It orders no accesses to memory.
unsigned shim_exchange(unsigned value, unsigned lane) {
    Barrier& warp = current.warps[threadIdx.x / WARP];
    unsigned* slots = &current.slots[2 * (threadIdx.x / WARP * WARP) + warp.generation % 2 * WARP];
    slots[threadIdx.x % WARP] = value;
    current.arrive(warp);
    return slots[lane];
}

void shim_run(void (*body)(const unsigned char*), const unsigned char* args, unsigned grid, unsigned block, unsigned first,
              unsigned last) {
#ifdef SHIM_ONE_BLOCK
    std::lock_guard<std::mutex> lock(one_block);
#endif
    gridDim.x = grid;
    blockDim.x = block;
    current.body = body;
    current.args = args;
    for (blockIdx.x = first; blockIdx.x < last; blockIdx.x++) current.run(block);
}
