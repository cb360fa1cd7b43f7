// The GIL released for the core's work, and how that work ends with the interpreter.
#pragma once

#include <pybind11/pybind11.h>

namespace ranvier {

namespace py = pybind11;

// A thread that comes back for the GIL of an interpreter that has ended is ended by Python, in the midst of
// frames of C++, which aborts the process. Only daemon threads can: Python joins the others first. So the
// interpreter, before it ends, waits until no other thread is in here; and who comes in, or asks whether to
// go on, gets a SystemExit, which ends a thread without a word.
class ReleasedGil {
public:
    ReleasedGil() = default;
    ReleasedGil(const ReleasedGil&) = delete;

private:
    struct Presence {
        Presence();  // throws SystemExit if the interpreter ends
        ~Presence();
    };
    Presence presence_;  // ends when the GIL is there again
    py::gil_scoped_release release_;
};

// Throws Python's error if it has a signal to handle or its interpreter ends. The GIL is held.
void throw_if_interrupted_with_gil();
// The same for who waits without the GIL.
void throw_if_interrupted();

// Has the interpreter call at its end what waits for other threads.
void wait_for_threads_at_exit();

}  // namespace ranvier
