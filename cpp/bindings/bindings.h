// The functions that fill the module, one a domain.
#pragma once

#include <pybind11/pybind11.h>

namespace ranvier {

void bind_platform(pybind11::module_& m);
void bind_matmul(pybind11::module_& m);
void bind_images(pybind11::module_& m);
void bind_elementwise(pybind11::module_& m);
void bind_loss(pybind11::module_& m);
void bind_nn(pybind11::module_& m);
void bind_peers(pybind11::module_& m);
void bind_trainer(pybind11::module_& m);
void bind_predictor(pybind11::module_& m);

}  // namespace ranvier
