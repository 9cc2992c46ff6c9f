// What ThreadSanitizer is told of the shim's threads (SHIM_RACES): that each is one of its own, and what orders them.
// Nobody else tells it, for the shim itself is compiled without it.
#pragma once

#ifdef SHIM_RACES
extern "C" {
void* __tsan_create_fiber(unsigned flags);
void* __tsan_get_current_fiber();
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}

namespace races {

constexpr bool WATCHED = true;

inline void* create() { return __tsan_create_fiber(0); }
inline void* current() { return __tsan_get_current_fiber(); }

// From here on `thread` runs; that it does so after another orders nothing.
inline void enter(void* thread) {
    constexpr unsigned NO_SYNC = 1;
    __tsan_switch_to_fiber(thread, NO_SYNC);
}

// What was done before a release of `point` is done before what follows a later acquire.
inline void release(void* point) { __tsan_release(point); }
inline void acquire(void* point) { __tsan_acquire(point); }

} // namespace races
#else
namespace races {

constexpr bool WATCHED = false;

inline void* create() { return nullptr; }
inline void* current() { return nullptr; }
inline void enter(void*) {}
inline void release(void*) {}
inline void acquire(void*) {}

} // namespace races
#endif
