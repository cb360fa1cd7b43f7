// The extension module ranvier._core: one function a domain fills it.
#include <pybind11/pybind11.h>

#include "bindings.h"
#include "gil.h"
#include "keywords.h"

// Kernels share nothing but the worker threads, which serve one caller at a time; passes over a network's
// parameters have their own lock.
PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
    m.doc() = "The compiled core of ranvier.";
    m.attr("__version__") = RANVIER_VERSION;
    ranvier::wait_for_threads_at_exit();
    ranvier::bind_platform(m);
    ranvier::bind_matmul(m);
    ranvier::bind_images(m);
    ranvier::bind_elementwise(m);
    ranvier::bind_loss(m);
    ranvier::bind_nn(m);
    ranvier::bind_peers(m);
    ranvier::bind_trainer(m);
    ranvier::bind_predictor(m);
    ranvier::hasten_keywords(m);
}
