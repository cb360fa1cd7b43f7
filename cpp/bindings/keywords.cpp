// Calls by keyword, made as quick as calls by position.
//
// In a call by keyword pybind11 makes a string of the name of each of the function's arguments, to compare it
// with the call's: a fifth of a microsecond for three of them, in which many a small kernel is done. Here the
// strings are kept, as Python keeps those of a call, so that a comparison of addresses finds a name; and the
// function is called with its arguments in order. What does not go this way, such as a misspelt name, goes
// the usual one, which has the messages.
#include "keywords.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

namespace ranvier {
namespace {

namespace py = pybind11;

constexpr std::size_t kMostArguments = 8;

// The arguments that may go by position.
struct Argument {
    PyObject* name;
    PyObject* standard;  // the value that it has by itself, if any
};
using Arguments = std::vector<Argument>;

// By the object that a function is called with. Written while the module is imported; never destroyed, as its
// functions may outlive main().
std::unordered_map<PyObject*, Arguments>& functions() {
    static auto& known = *new std::unordered_map<PyObject*, Arguments>;
    return known;
}

using Function = PyObject* (*)(PyObject* self, PyObject* const* args, Py_ssize_t by_position,
                               PyObject* keywords);
Function usual_call = nullptr;  // pybind11's, the same for all functions

// Puts a call's arguments in order; returns how many there are, or 0 if this is left to the usual way.
Py_ssize_t put_in_order(const Arguments& expected, PyObject* const* args, Py_ssize_t by_position,
                        PyObject* keywords, PyObject** ordered) {
    const auto most = static_cast<Py_ssize_t>(expected.size());
    if (by_position > most) return 0;
    Py_ssize_t count = by_position;
    for (Py_ssize_t i = 0; i < most; ++i) ordered[i] = i < by_position ? args[i] : nullptr;
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(keywords); ++k) {
        Py_ssize_t i = by_position;
        while (i < most && expected[i].name != PyTuple_GET_ITEM(keywords, k)) ++i;
        if (i == most) return 0;
        ordered[i] = args[by_position + k];
        count = std::max(count, i + 1);
    }
    for (Py_ssize_t i = by_position; i < count; ++i) {
        if (!ordered[i]) ordered[i] = expected[i].standard;
        if (!ordered[i]) return 0;
    }
    return count;
}

PyObject* call(PyObject* self, PyObject* const* args, Py_ssize_t by_position, PyObject* keywords) {
    if (keywords) {
        PyObject* ordered[kMostArguments];
        if (const Py_ssize_t count = put_in_order(functions().at(self), args, by_position, keywords, ordered))
            return usual_call(self, ordered, count, nullptr);
    }
    return usual_call(self, args, by_position, keywords);
}

}  // namespace

// Python's interpreter calls a function of the module by its definition, where it does not go by vectorcall:
// so the definition is what changes.
void hasten_keywords(const py::module_& m) {
    for (const auto& [name, value] : py::reinterpret_borrow<py::dict>(m.attr("__dict__"))) {
        if (!PyCFunction_Check(value.ptr())) continue;
        PyObject* self = PyCFunction_GET_SELF(value.ptr());
        const auto* record = py::detail::function_record_ptr_from_PyObject(self);
        // A function of two names is met twice, and then its call is no longer the usual one.
        const auto called = [&] {
            return reinterpret_cast<Function>(reinterpret_cast<void (*)()>(record->def->ml_meth));
        };
        if (!record || (usual_call && called() != usual_call) || record->next || record->has_args ||
            record->has_kwargs || record->def->ml_flags != (METH_FASTCALL | METH_KEYWORDS) ||
            record->nargs_pos > kMostArguments || record->args.size() < record->nargs_pos)
            continue;
        Arguments arguments;
        for (std::size_t i = 0; i < record->nargs_pos; ++i)
            arguments.push_back(
                {PyUnicode_InternFromString(record->args[i].name), record->args[i].value.ptr()});
        value.inc_ref();  // it keeps `self`, whose address is a key
        functions().emplace(self, arguments);
        usual_call = called();
        record->def->ml_meth = reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call));
    }
}

}  // namespace ranvier
