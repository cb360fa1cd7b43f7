// What binds those who train together.
#include "peers.h"

#include <pybind11/stl.h>

#include "bindings.h"

namespace ranvier {
namespace {

PyDataParallel data_parallel_of(index_t parts, index_t all_parts, bool sync_batch_norm,
                                const py::object& ranks) {
    if (py::isinstance<PyMessages>(ranks))
        return {parts, all_parts, sync_batch_norm, &ranks.cast<PyMessages&>(), ranks};
    return {parts, all_parts, sync_batch_norm, &ranks.cast<PySharedRanks&>(), ranks};
}

std::size_t bytes_of_segment(const PyParameters& parameters, index_t rank) {
    return std::visit(
        [&](const auto& p) {
            using T = std::remove_reference_t<decltype(*p->values())>;
            return SharedRanks<T>::bytes(rank, p->size());
        },
        parameters.any);
}

void prepare_segment(const py::object& segment) {
    SharedRanks<float>::prepare(PySharedRanks::segment_of(segment, SharedRanks<float>::bytes(1, 0)));
}

}  // namespace

void bind_peers(py::module_& m) {
    py::class_<PyMessages>(m, "Messages", "Functions that reach the others of a training together.")
        .def(py::init<index_t, index_t, py::function, py::function, py::function>(), py::arg("rank"),
             py::arg("size"), py::arg("gather"), py::arg("reduce"), py::arg("wait"));
    py::class_<PySharedRanks>(m, "SharedRanks", "The ranks of a training together that share memory.")
        .def(py::init<const PyParameters&, index_t, const std::vector<py::object>&>(), py::arg("parameters"),
             py::arg("rank"), py::arg("segments"))
        .def_static("bytes", &bytes_of_segment, py::arg("parameters"), py::arg("rank"))
        .def_static("prepare", &prepare_segment, py::arg("segment"))
        .def("leave", [](PySharedRanks& self) { std::visit([](auto& ranks) { ranks->leave(); }, self.any); })
        .def_property_readonly("seconds", &PySharedRanks::seconds);
    py::class_<PyDataParallel>(m, "DataParallel", "How a training shares each batch with others.")
        .def(py::init(&data_parallel_of), py::arg("parts"), py::arg("all_parts"), py::arg("sync_batch_norm"),
             py::arg("ranks"));
}

}  // namespace ranvier
