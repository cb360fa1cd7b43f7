// A note that the child takes at the time of the fork, from when the library is loaded on.
#include "fork.h"

#include <atomic>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace ranvier {
namespace {

std::atomic<bool> forked{false};
#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int watched = pthread_atfork(nullptr, nullptr, [] { forked = true; });
#endif

}  // namespace

bool is_forked_child() { return forked.load(std::memory_order_relaxed); }

}  // namespace ranvier
