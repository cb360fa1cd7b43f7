// What a thread does that waits for another one for a moment.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace ranvier {

// Leaves the core's resources to its other thread for some cycles.
inline void pause() {
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace ranvier
