// Calls by keyword, made as quick as calls by position.
#pragma once

#include <pybind11/pybind11.h>

namespace ranvier {

// To be called once all functions of the module are there.
void hasten_keywords(const pybind11::module_& m);

}  // namespace ranvier
