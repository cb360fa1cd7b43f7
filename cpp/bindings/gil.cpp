// Who works without the GIL, and the interpreter's end, which waits for them.
#include "gil.h"

#include <atomic>
#include <chrono>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace ranvier {
namespace {

std::atomic<int> present{0};  // threads
std::atomic<bool> ending{false};
std::atomic<std::thread::id> ending_thread{};

#if defined(__unix__) || defined(__APPLE__)
// A child of fork() has none of its parent's other threads.
[[maybe_unused]] const int watched = pthread_atfork(nullptr, nullptr, [] { present = 0; });
#endif

// A layer or loss of the user's own may never come back; the process ends all the same.
constexpr std::chrono::seconds kLongestWait{5};

bool must_leave() { return ending && ending_thread.load() != std::this_thread::get_id(); }

[[noreturn]] void leave() {
    PyErr_SetNone(PyExc_SystemExit);
    throw py::error_already_set();
}

void wait_for_threads() {
    ending_thread = std::this_thread::get_id();
    ending = true;
    const py::gil_scoped_release release;
    const auto start = std::chrono::steady_clock::now();
    while (present > 0 && std::chrono::steady_clock::now() - start < kLongestWait)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace

ReleasedGil::Presence::Presence() {
    ++present;
    if (must_leave()) {
        --present;
        leave();
    }
}
ReleasedGil::Presence::~Presence() { --present; }

void throw_if_interrupted_with_gil() {
    if (must_leave()) leave();
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

void throw_if_interrupted() {
    const py::gil_scoped_acquire acquire;
    throw_if_interrupted_with_gil();
}

void wait_for_threads_at_exit() {
    py::module_::import("atexit").attr("register")(py::cpp_function(&wait_for_threads));
}

}  // namespace ranvier
