// Layers as Python describes them, (kind, fields), read into LayerSpecs.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ranvier/layers.h"

namespace ranvier {

namespace py = pybind11;

// A layer that Python computes: functions of arrays, which check what they give back.
class PythonLayer final : public CustomLayer {
public:
    explicit PythonLayer(const py::dict& fields);
    PythonLayer(const PythonLayer&) = delete;
    ~PythonLayer() override;

    std::string name() const override { return name_; }
    // Asked once for each input shape: the function tries the layer on zeros.
    Shape output_shape(const Shape& input) override;
    const std::vector<std::pair<std::string, Shape>>& parameters() const override { return parameters_; }
    bool trains_itself() const override { return trains_itself_; }
    void forward(const Forward<float>& pass) override { run_forward(pass); }
    void forward(const Forward<double>& pass) override { run_forward(pass); }
    void backward(const Backward<float>& pass) override { run_backward(pass); }
    void backward(const Backward<double>& pass) override { run_backward(pass); }

    // For the garbage collector: visits the functions and what is kept, or lets them go.
    int traverse(visitproc visit, void* arg) const;
    void clear();

private:
    template <class T>
    void run_forward(const Forward<T>& pass);
    template <class T>
    void run_backward(const Backward<T>& pass);

    std::string name_;
    std::vector<std::pair<std::string, Shape>> parameters_;
    bool trains_itself_;
    std::map<Shape, Shape> output_shapes_;
    py::function output_shape_, forward_, backward_;
    py::object kept_;  // what forward_ gave for backward_
};

// The Python layers of a network, as an object of Python's. Parameters, trainers and predictors share the
// layers, and each refers to this object, so that the garbage collector meets the reference to a function
// once. Thus it finds a network to which a layer of its own refers.
struct PythonLayers {
    std::vector<std::shared_ptr<PythonLayer>> all;
};
void bind_python_layers(py::module_& m);

struct ReadLayers {
    std::vector<LayerSpec> specs;
    py::object python;  // a PythonLayers, or None if there are none
};
ReadLayers read_layers(const py::sequence& layers);

// The C++ object behind one of Python's, nullptr before its constructor is done.
template <class T>
T* constructed(PyObject* self) {
    if (!py::detail::is_holder_constructed(self)) return nullptr;
    return static_cast<T*>(reinterpret_cast<py::detail::instance*>(self)->get_value_and_holder().value_ptr());
}

// Of a class whose objects have such members: tells the garbage collector of them.
template <class T, py::object T::*... members>
py::custom_type_setup visits() {
    return py::custom_type_setup([](PyHeapTypeObject* heap_type) {
        PyTypeObject& type = heap_type->ht_type;
        type.tp_flags |= Py_TPFLAGS_HAVE_GC;
        type.tp_traverse = [](PyObject* self, visitproc visit, void* arg) {
            Py_VISIT(Py_TYPE(self));
            if (const T* object = constructed<T>(self))
                for (PyObject* member : {(object->*members).ptr()...}) Py_VISIT(member);
            return 0;
        };
    });
}

}  // namespace ranvier
