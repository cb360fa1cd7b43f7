// Ctrl-C and errors of Python's own code, on the way through the core.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>

#include "../platform/denormals.h"
#include "gil.h"

namespace ranvier {

// False once Python has a signal to handle or the callback raised; the error is then kept.
class Interruption {
public:
    template <class Callback>
    bool proceed(Callback&& callback) {
        const CallersDenormals denormals;
        py::gil_scoped_acquire acquire;
        try {
            throw_if_interrupted_with_gil();
            callback();
            return true;
        } catch (...) {
            raised_ = std::current_exception();
            return false;
        }
    }
    bool proceed() {
        return proceed([] {});
    }
    bool raised() const { return raised_ != nullptr; }
    void rethrow() const {
        if (raised_) std::rethrow_exception(raised_);
    }

private:
    std::exception_ptr raised_;
};

}  // namespace ranvier
