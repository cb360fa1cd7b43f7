// Calls by keyword, made as quick as calls by position.
//
// In a call by keyword pybind11 makes a string of the name of each of the function's arguments, to compare it
// with the call's: a fifth of a microsecond for three of them, in which many a small kernel is done. Here the
// strings are kept, as Python keeps those of a call, so that a comparison of addresses finds a name; and the
// function is called with its arguments in order. What does not go this way, such as a misspelt name, goes
// the usual one, which has the messages.
#include "keywords.h"

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

// Written while the module is imported; never destroyed, as its functions may outlive main().
std::unordered_map<PyObject*, Arguments>& functions() {
    static auto& known = *new std::unordered_map<PyObject*, Arguments>;
    return known;
}
vectorcallfunc usual_call = nullptr;

// Puts a call's arguments in order; returns how many there are, or 0 if this is left to the usual way.
std::size_t put_in_order(const Arguments& expected, PyObject* const* args, std::size_t by_position,
                         PyObject* keywords, PyObject** ordered) {
    if (by_position > expected.size()) return 0;
    std::size_t count = by_position;
    for (std::size_t i = 0; i < expected.size(); ++i) ordered[i] = i < by_position ? args[i] : nullptr;
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(keywords); ++k) {
        std::size_t i = by_position;
        while (i < expected.size() && expected[i].name != PyTuple_GET_ITEM(keywords, k)) ++i;
        if (i == expected.size()) return 0;
        ordered[i] = args[by_position + static_cast<std::size_t>(k)];
        count = i < count ? count : i + 1;
    }
    for (std::size_t i = by_position; i < count; ++i) {
        if (!ordered[i]) ordered[i] = expected[i].standard;
        if (!ordered[i]) return 0;
    }
    return count;
}

PyObject* call(PyObject* function, PyObject* const* args, std::size_t flagged_count, PyObject* keywords) {
    if (keywords) {
        PyObject* ordered[kMostArguments];
        const auto by_position = static_cast<std::size_t>(PyVectorcall_NARGS(flagged_count));
        if (const std::size_t count =
                put_in_order(functions().at(function), args, by_position, keywords, ordered))
            return usual_call(function, ordered, count, nullptr);
    }
    return usual_call(function, args, flagged_count, keywords);
}

}  // namespace

void hasten_keywords(const py::module_& m) {
    for (const auto& [name, value] : py::reinterpret_borrow<py::dict>(m.attr("__dict__"))) {
        if (!PyCFunction_Check(value.ptr())) continue;
        auto* function = reinterpret_cast<PyCFunctionObject*>(value.ptr());
        const auto* record = py::detail::function_record_ptr_from_PyObject(PyCFunction_GET_SELF(value.ptr()));
        const bool is_usual = function->vectorcall && (!usual_call || function->vectorcall == usual_call);
        if (!is_usual || !record || record->next || record->has_args || record->has_kwargs ||
            record->nargs_pos > kMostArguments || record->args.size() < record->nargs_pos)
            continue;
        Arguments arguments;
        for (std::size_t i = 0; i < record->nargs_pos; ++i)
            arguments.push_back(
                {PyUnicode_InternFromString(record->args[i].name), record->args[i].value.ptr()});
        value.inc_ref();  // its address is a key
        functions().emplace(value.ptr(), arguments);
        usual_call = function->vectorcall;
        function->vectorcall = call;
    }
}

}  // namespace ranvier
