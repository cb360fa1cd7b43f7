// Layers as Python describes them, (kind, fields), read into LayerSpecs.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vector>

#include "ranvier/layers.h"

namespace ranvier {

namespace py = pybind11;

std::vector<LayerSpec> layer_specs(const py::sequence& layers);

}  // namespace ranvier
