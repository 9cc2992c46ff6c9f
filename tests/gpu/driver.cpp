// A stand-in for NVIDIA's driver, for tests: GPUs on the CPU that do everything as late as they may.
//
// Work waits in its stream until somebody waits for it, so that memory which is freed or reused too early, an event that
// is not waited for or a context that is not current shows. What other GPUs wait for, as NCCL's stand-in tells, a thread
// drives, and no more. Kernels are the project's own, compiled for the CPU. STANDIN_GPUS says how many there are.
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

using u64 = uint64_t;
#define API extern "C" __attribute__((visibility("default")))

[[noreturn]] static void fail(const char* what, u64 number = 0) {
    fprintf(stderr, "the stand-in for the driver: %s (%llx)\n", what, static_cast<unsigned long long>(number));
    abort();
}

enum { OK = 0, INVALID = 1, NO_MEMORY = 2, NO_CONTEXT = 201, NOT_FOUND = 500, NOT_READY = 600 };
constexpr u64 LIMIT = 192 << 20;
constexpr int POISON = 0xDD;

struct Gpu {
    u64 reserved = 0;
    // What was freed and is free, by its size: any stream may have it.
    std::map<u64, std::vector<u64>> free;
    std::vector<struct Stream*> streams;
};
struct Stream {
    Gpu* gpu;
    // Each returns whether it is done: what waits for other GPUs is tried again.
    std::deque<std::function<bool()>> work;
    // `wanted` counts what must be driven although nobody here waits for it.
    u64 enqueued = 0, done = 0, wanted = 0;
    // What will be free when it comes to the free of that number.
    std::map<u64, std::vector<std::pair<u64, u64>>> spare;
    bool busy = false;

    void add(std::function<void()> f) {
        try_until_done([f] { return f(), true; });
    }
    void try_until_done(std::function<bool()> f) {
        work.push_back(std::move(f));
        enqueued++;
    }
    // Whether so much is done, after all that can be done for it now.
    bool reach(u64 number) {
        while (done < number) {
            if (busy) fail("a stream waits for itself");
            busy = true;
            const bool is_done = work.front()();
            busy = false;
            if (!is_done) return false;
            work.pop_front();
            done++;
        }
        return true;
    }
};
struct Event {
    Stream* stream = nullptr;
    u64 number = 0;
};
struct Module {};
struct Function {
    void (*run)(const unsigned char*, unsigned, unsigned, unsigned, unsigned);
    std::vector<unsigned> sizes;
};
struct Allocation {
    u64 bytes;
    bool is_live;
    Gpu* gpu;
};

// Never destroyed, as a thread drives streams to the end of the process.
static auto& mutex = *new std::recursive_mutex;
static auto& changed = *new std::condition_variable_any;
static auto& allocations = *new std::map<u64, Allocation>;
static auto& parameters = *new std::map<std::string, std::vector<unsigned>>{
#include "parameters.inc"
};
static auto& wanted = *new std::set<Stream*>;
static thread_local Gpu* current = nullptr;

static std::vector<Gpu>& gpus() {
    static auto& all = *new std::vector<Gpu>(getenv("STANDIN_GPUS") ? atoi(getenv("STANDIN_GPUS")) : 1);
    return all;
}

#define ENTER                                          \
    std::lock_guard<std::recursive_mutex> lock(mutex); \
    if (!current) return NO_CONTEXT

using Lock = std::unique_lock<std::recursive_mutex>;
constexpr auto PAUSE = std::chrono::microseconds(100);

// Waits until the stream has done so much, and lets others go on meanwhile.
static void wait_until(Stream* stream, u64 number, std::lock_guard<std::recursive_mutex>&) {
    while (!stream->reach(number)) {
        // The caller holds the lock once.
        std::unique_lock<std::recursive_mutex> held(mutex, std::adopt_lock);
        changed.wait_for(held, PAUSE);
        held.release();
    }
}

static void drive() {
    Lock lock(mutex);
    for (;;) {
        for (auto stream = wanted.begin(); stream != wanted.end();) {
            const bool is_done = (*stream)->reach((*stream)->wanted);
            stream = is_done ? wanted.erase(stream) : std::next(stream);
        }
        changed.notify_all();
        if (wanted.empty()) changed.wait(lock);
        else changed.wait_for(lock, PAUSE);
    }
}

// Whether the bytes lie in memory that is allocated at this point of the work.
API void standin_expect_live(u64 address, u64 bytes) {
    if (bytes == 0) return;
    auto next = allocations.upper_bound(address);
    if (next == allocations.begin()) fail("an access outside of memory", address);
    auto& [start, allocation] = *std::prev(next);
    if (!allocation.is_live) fail("an access to freed memory", address);
    if (address + bytes > start + allocation.bytes) fail("an access beyond its memory", address);
}

API void standin_enqueue(void* stream, void (*f)(void*), void* data) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    static_cast<Stream*>(stream)->add([=] { f(data); });
}

// What follows is for NCCL's stand-in, which works under the lock of this one.
API void standin_lock() { mutex.lock(); }
API void standin_unlock() { mutex.unlock(); }
// The number of the thread's GPU, or -1.
API int standin_gpu() { return current ? int(current - gpus().data()) : -1; }
// Work that others wait for: it is tried until it is done.
API void standin_drive(void* stream, bool (*f)(void*), void* data) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    auto s = static_cast<Stream*>(stream);
    s->try_until_done([=] { return f(data); });
    s->wanted = s->enqueued;
    wanted.insert(s);
    static const bool is_driven = (std::thread(drive).detach(), true);
    (void)is_driven;
    changed.notify_all();
}

API int cuInit(unsigned) { return OK; }
API int cuDriverGetVersion(int* version) { return *version = 13070, OK; }
API int cuDeviceGetCount(int* count) { return *count = int(gpus().size()), OK; }
API int cuDeviceGet(int* device, int number) { return *device = number, OK; }
API int cuDeviceGetName(char* name, int length, int) { return snprintf(name, length, "a GPU on the CPU"), OK; }
API int cuDeviceGetAttribute(int* value, int which, int) {
    switch (which) {
    case 75: return *value = 9, OK;
    case 76: return *value = 0, OK;
    case 115: return *value = 1, OK;
    default: return INVALID;
    }
}
API int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = LIMIT, OK; }
API int cuDevicePrimaryCtxRetain(void** context, int gpu) { return *context = &gpus()[gpu], OK; }
API int cuDevicePrimaryCtxRelease_v2(int gpu) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    for (auto stream : gpus()[gpu].streams) stream->reach(stream->enqueued);
    for (auto& [address, allocation] : allocations)
        if (allocation.is_live && allocation.gpu == &gpus()[gpu]) fail("memory that was never freed", address);
    dprintf(1, "the context was released, and all memory before it\n");
    return OK;
}
API int cuCtxSetCurrent(void* context) { return current = static_cast<Gpu*>(context), OK; }
API int cuGetErrorName(int code, const char** text) {
    return *text = code == NO_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT" : "CUDA_ERROR", OK;
}
API int cuGetErrorString(int, const char** text) { return *text = "as the stand-in says", OK; }

API int cuStreamCreate(void** stream, unsigned flags) {
    ENTER;
    if (flags != 1) return INVALID;
    auto s = new Stream;
    s->gpu = current;
    current->streams.push_back(s);
    *stream = s;
    return OK;
}
// What is under way is finished, now or later; memory of the stream lives on in tests.
API int cuStreamDestroy_v2(void* stream) {
    ENTER;
    static_cast<Stream*>(stream)->reach(static_cast<Stream*>(stream)->enqueued);
    return OK;
}
API int cuStreamSynchronize(void* stream) {
    ENTER;
    wait_until(static_cast<Stream*>(stream), static_cast<Stream*>(stream)->enqueued, lock);
    return OK;
}
API int cuEventCreate(void** event, unsigned flags) {
    ENTER;
    if (flags != 2) return INVALID;
    *event = new Event;
    return OK;
}
API int cuEventDestroy_v2(void* event) { return delete static_cast<Event*>(event), OK; }
API int cuEventRecord(void* event, void* stream) {
    ENTER;
    auto s = static_cast<Stream*>(stream);
    *static_cast<Event*>(event) = {s, s->enqueued};
    return OK;
}
API int cuEventQuery(void* event) {
    ENTER;
    auto e = static_cast<Event*>(event);
    return e->stream->done >= e->number ? OK : NOT_READY;
}
API int cuEventSynchronize(void* event) {
    ENTER;
    auto e = static_cast<Event*>(event);
    wait_until(e->stream, e->number, lock);
    return OK;
}
API int cuStreamWaitEvent(void* stream, void* event, unsigned) {
    ENTER;
    const Event e = *static_cast<Event*>(event);
    static_cast<Stream*>(stream)->try_until_done([e] { return e.stream->reach(e.number); });
    return OK;
}

API int cuDeviceGetDefaultMemPool(void** pool, int gpu) { return *pool = &gpus()[gpu], OK; }
API int cuMemPoolSetAttribute(void*, int which, void* value) {
    return which == 4 && *static_cast<u64*>(value) == ~0ull ? OK : INVALID;
}
API int cuMemPoolGetAttribute(void* pool, int which, void* value) {
    if (which != 5 && which != 7) return INVALID;
    return *static_cast<u64*>(value) = static_cast<Gpu*>(pool)->reserved, OK;
}
API int cuMemPoolTrimTo(void*, size_t) { return OK; }
API int cuMemGetInfo_v2(size_t* free, size_t* total) {
    ENTER;
    return *free = LIMIT - current->reserved, *total = LIMIT, OK;
}
// What was freed on a stream is at once given to whoever allocates there next.
API int cuMemAllocAsync(u64* address, size_t bytes, void* stream) {
    ENTER;
    if (bytes == 0) return INVALID;
    auto s = static_cast<Stream*>(stream);
    auto &spare = s->spare[bytes];
    auto &freed = s->gpu->free[bytes];
    if (!spare.empty()) {
        *address = spare.back().first;
        spare.pop_back();
    } else if (!freed.empty()) {
        *address = freed.back();
        freed.pop_back();
    } else {
        if (s->gpu->reserved + bytes > LIMIT) return NO_MEMORY;
        *address = reinterpret_cast<u64>(aligned_alloc(256, (bytes + 255) / 256 * 256));
        allocations[*address] = {bytes, false, s->gpu};
        memset(reinterpret_cast<void*>(*address), POISON, bytes);
    }
    s->gpu->reserved += bytes;
    const u64 start = *address;
    s->add([start] { allocations[start].is_live = true; });
    return OK;
}
API int cuMemFreeAsync(u64 address, void* stream) {
    ENTER;
    auto s = static_cast<Stream*>(stream);
    const u64 bytes = allocations.at(address).bytes;
    const u64 number = s->enqueued;
    s->spare[bytes].push_back({address, number});
    s->add([=] {
        standin_expect_live(address, bytes);
        allocations[address].is_live = false;
        memset(reinterpret_cast<void*>(address), POISON, bytes);
        s->gpu->reserved -= bytes;
        // Unless it was given away again already.
        auto& spare = s->spare[bytes];
        for (auto own = spare.begin(); own != spare.end(); own++) {
            if (own->second != number) continue;
            spare.erase(own);
            s->gpu->free[bytes].push_back(address);
            break;
        }
    });
    return OK;
}
API int cuMemAllocHost_v2(void** start, size_t bytes) {
    ENTER;
    *start = malloc(bytes);
    return OK;
}
API int cuMemFreeHost(void* start) {
    ENTER;
    free(start);
    return OK;
}
API int cuMemcpyHtoDAsync_v2(u64 to, const void* from, size_t bytes, void* stream) {
    ENTER;
    static_cast<Stream*>(stream)->add([=] {
        standin_expect_live(to, bytes);
        memcpy(reinterpret_cast<void*>(to), from, bytes);
    });
    return OK;
}
API int cuMemcpyDtoHAsync_v2(void* to, u64 from, size_t bytes, void* stream) {
    ENTER;
    static_cast<Stream*>(stream)->add([=] {
        standin_expect_live(from, bytes);
        memcpy(to, reinterpret_cast<void*>(from), bytes);
    });
    return OK;
}
API int cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, void* stream) {
    ENTER;
    static_cast<Stream*>(stream)->add([=] {
        standin_expect_live(from, bytes);
        standin_expect_live(to, bytes);
        memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
    });
    return OK;
}
API int cuMemsetD8Async(u64 to, unsigned char value, size_t bytes, void* stream) {
    ENTER;
    static_cast<Stream*>(stream)->add([=] {
        standin_expect_live(to, bytes);
        memset(reinterpret_cast<void*>(to), value, bytes);
    });
    return OK;
}
struct Copy2D {
    size_t from_x, from_y;
    unsigned from_kind;
    const void* from_host;
    u64 from;
    void* from_array;
    size_t from_pitch, to_x, to_y;
    unsigned to_kind;
    void* to_host;
    u64 to;
    void* to_array;
    size_t to_pitch, width, height;
};
API int cuMemcpy2DAsync_v2(const Copy2D* copy, void* stream) {
    ENTER;
    const Copy2D c = *copy;
    if (c.from_kind != 2 || c.to_kind != 2 || c.from_x || c.from_y || c.to_x || c.to_y) return INVALID;
    static_cast<Stream*>(stream)->add([c] {
        for (size_t row = 0; row < c.height; row++) {
            standin_expect_live(c.from + row * c.from_pitch, c.width);
            standin_expect_live(c.to + row * c.to_pitch, c.width);
            memcpy(reinterpret_cast<void*>(c.to + row * c.to_pitch),
                   reinterpret_cast<void*>(c.from + row * c.from_pitch), c.width);
        }
    });
    return OK;
}

API int cuModuleLoadData(void** module, const void* image) {
    ENTER;
    if (memcmp(image, "\x7f"
                      "ELF",
               4))
        return INVALID;
    *module = new Module;
    return OK;
}
API int cuModuleUnload(void* module) { return delete static_cast<Module*>(module), OK; }
API int cuModuleGetFunction(void** function, void*, const char* name) {
    ENTER;
    static void* library = dlopen(KERNELS, RTLD_NOW);
    void* run = library ? dlsym(library, ("host_" + std::string(name)).c_str()) : nullptr;
    if (!run || !parameters.count(name)) return NOT_FOUND;
    *function = new Function{reinterpret_cast<decltype(Function::run)>(run), parameters[name]};
    return OK;
}
API int cuLaunchKernel(Function* f, unsigned grid, unsigned y, unsigned z, unsigned block, unsigned by, unsigned bz,
                       unsigned shared, void* stream, void** params, void** extra) {
    ENTER;
    if (grid == 0 || grid > 0x7FFFFFFF || block == 0 || block > 1024 || y * z * by * bz != 1 || shared || extra) return INVALID;
    std::vector<u64> args;
    std::vector<std::pair<u64, u64>> views;
    for (size_t i = 0; i < f->sizes.size(); i++) {
        const size_t at = args.size();
        args.resize(at + f->sizes[i] / 8);
        memcpy(&args[at], params[i], f->sizes[i]);
        static const u64 widths[] = {4, 8, 2, 2, 1, 1, 1, 1, 4, 8};
        if (f->sizes[i] == 24) views.push_back({args[at], args[at + 1] * widths[args[at + 2]]});
    }
    static_cast<Stream*>(stream)->add([=] {
        for (auto [address, bytes] : views) standin_expect_live(address, bytes);
        f->run(reinterpret_cast<const unsigned char*>(args.data()), grid, block, 0, grid);
    });
    return OK;
}
