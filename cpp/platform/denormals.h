// Flushing of denormal numbers inside a kernel's own region, and not in what that calls outside.
#pragma once

#include <utility>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace ranvier {

// The control word of this thread's floating-point unit that says what becomes of denormals.
using DenormalMode = unsigned long long;

#if defined(__SSE2__)
inline constexpr DenormalMode kFlush = 0x8040;  // flush to zero, denormals are zero
inline DenormalMode denormal_mode() { return _mm_getcsr(); }
inline void set_denormal_mode(DenormalMode mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#elif defined(__aarch64__)
inline constexpr DenormalMode kFlush = 1ull << 24;  // FPCR.FZ
inline DenormalMode denormal_mode() {
    DenormalMode mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
inline void set_denormal_mode(DenormalMode mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
inline constexpr DenormalMode kFlush = 0;
inline DenormalMode denormal_mode() { return 0; }
inline void set_denormal_mode(DenormalMode) {}
#endif

namespace detail {
// The bits of kFlush that a FlushDenormals scope of this thread has set; none within a CallersDenormals.
inline constinit thread_local DenormalMode flush_bits_set = 0;
}  // namespace detail

// Treats denormal inputs and results as zero on this thread until the end of the scope, then
// restores what the caller had. Threads that parallel_for starts take the mode of their caller.
class FlushDenormals {
public:
    FlushDenormals() : saved_(denormal_mode()) {
        // To write the control word costs as much as a small kernel, and scopes are nested.
        if ((saved_ & kFlush) == kFlush) return;
        bits_set_ = &detail::flush_bits_set;
        *bits_set_ = kFlush & ~saved_;
        set_denormal_mode(saved_ | kFlush);
    }
    ~FlushDenormals() {
        if (!bits_set_) return;
        set_denormal_mode(saved_);
        *bits_set_ = 0;
    }
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;

private:
    DenormalMode saved_;
    DenormalMode* bits_set_ =
        nullptr;  // of this thread, if this scope set some; kept, for it takes a call to find
};

// For a call out of a FlushDenormals scope, on the thread that entered it: gives denormals back until the end
// of the scope, as far as the library's caller had them. Where nothing was changed, it costs a comparison.
class CallersDenormals {
public:
    CallersDenormals() : set_(std::exchange(detail::flush_bits_set, 0)) {
        if (set_) set_denormal_mode(denormal_mode() & ~set_);
    }
    ~CallersDenormals() {
        if (!set_) return;
        set_denormal_mode(denormal_mode() | set_);
        detail::flush_bits_set = set_;
    }
    CallersDenormals(const CallersDenormals&) = delete;
    CallersDenormals& operator=(const CallersDenormals&) = delete;

private:
    DenormalMode set_;
};

}  // namespace ranvier
