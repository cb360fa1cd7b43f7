// NumPy arrays as views: checks and messages.
#include "views.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <vector>

#include "ranvier/memory.h"

namespace ranvier {
namespace {

// NumPy's type numbers.
constexpr int kFloat32 = 11, kFloat64 = 12;

bool is_native(const py::dtype& dtype) { return dtype.byteorder() == '=' || dtype.byteorder() == '|'; }

std::string dtype_text(const py::array& array) { return py::str(array.dtype()).cast<std::string>(); }

// Whether the address ranges of two arrays meet; cheap, and exact for contiguous arrays.
bool bounds_meet(const py::array& a, const py::array& b) {
    const auto bounds = [](const py::array& array) {
        const auto* low = static_cast<const char*>(array.data());
        const char* high = low + array.itemsize();
        for (py::ssize_t d = 0; d < array.ndim(); ++d) {
            const py::ssize_t reach = (array.shape(d) - 1) * array.strides(d);
            (reach < 0 ? low : high) += reach;
        }
        return std::pair{low, high};
    };
    if (a.size() == 0 || b.size() == 0) return false;
    const auto [a_low, a_high] = bounds(a);
    const auto [b_low, b_high] = bounds(b);
    return a_low < b_high && b_low < a_high;
}

bool is_same_view(const py::array& a, const py::array& b) {
    if (a.data() != b.data() || a.ndim() != b.ndim()) return false;
    for (py::ssize_t d = 0; d < a.ndim(); ++d)
        if (a.shape(d) != b.shape(d) || (a.shape(d) > 1 && a.strides(d) != b.strides(d))) return false;
    return true;
}

// Exact, but for layouts so tangled that the answer would take long: those are said to share.
bool shares_memory(const py::array& a, const py::array& b) {
    constexpr int kMaxWork = 100000;
    if (!bounds_meet(a, b)) return false;
    try {
        return py::module_::import("numpy").attr("shares_memory")(a, b, kMaxWork).cast<bool>();
    } catch (const py::error_already_set& error) {
        if (error.matches(PyExc_RuntimeError)) return true;  // numpy.exceptions.TooHardError
        throw;
    }
}

// Whether two elements may lie on one address: true unless each stride steps over all that the smaller
// ones reach, which holds for slices and transposes of ordinary arrays but not for broadcast ones.
bool overlaps_itself(const py::array& array) {
    if (array.size() == 0 || (array.flags() & py::array::c_style)) return false;
    std::array<std::pair<py::ssize_t, py::ssize_t>, kMaxDims> steps;  // (stride, size)
    std::size_t count = 0;
    for (py::ssize_t d = 0; d < array.ndim(); ++d)
        if (array.shape(d) > 1) steps[count++] = {std::abs(array.strides(d)), array.shape(d)};
    std::sort(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(count));
    py::ssize_t reach = array.itemsize();
    for (std::size_t i = 0; i < count; ++i) {
        const auto [stride, size] = steps[i];
        if (stride < reach) return true;
        reach += stride * (size - 1);
    }
    return false;
}

void require_fit(const py::array& out, const std::string& name, const Shape& shape,
                 std::initializer_list<py::array> inputs, bool in_place) {
    require_shape(out, name.c_str(), shape);
    if (!out.writeable()) throw py::value_error(name + ": expected a writeable array, got a read-only one");
    if (overlaps_itself(out))
        throw py::value_error(name + ": expected an array whose elements do not overlap each other");
    for (const py::array& input : inputs)
        if (!(in_place && is_same_view(out, input)) && shares_memory(out, input))
            throw py::value_error(name + ": overlaps an input");
}

}  // namespace

std::string kind_of(const py::handle& object) {
    if (py::isinstance<py::array>(object))
        return "an array of " + dtype_text(py::reinterpret_borrow<py::array>(object));
    return Py_TYPE(object.ptr())->tp_name;
}

Shape shape_of(const py::array& array) { return {array.shape(), array.shape() + array.ndim()}; }

bool is_float32(const py::array& array) { return array.dtype().num() == kFloat32; }

py::array float_array(const py::handle& object, const char* name) {
    if (py::isinstance<py::array>(object)) {
        const auto array = py::reinterpret_borrow<py::array>(object);
        const py::dtype dtype = array.dtype();
        if ((dtype.num() == kFloat32 || dtype.num() == kFloat64) && is_native(dtype)) {
            if (array.ndim() > kMaxDims)
                throw py::value_error(std::string(name) + ": expected at most " + std::to_string(kMaxDims) +
                                      " dimensions, got " + std::to_string(array.ndim()));
            bool fits = reinterpret_cast<std::uintptr_t>(array.data()) %
                            static_cast<std::uintptr_t>(dtype.itemsize()) ==
                        0;
            for (py::ssize_t d = 0; d < array.ndim(); ++d)
                fits = fits && array.strides(d) % dtype.itemsize() == 0;
            if (!fits && array.size() > 0)
                throw py::value_error(
                    std::string(name) +
                    ": expected elements at multiples of their size, got an unaligned array");
            return array;
        }
    }
    throw py::type_error(std::string(name) + ": expected an array of float32 or float64, got " +
                         kind_of(object));
}

py::array array_like(const py::handle& object, const char* name, const py::array& like,
                     const char* like_name) {
    py::array array = float_array(object, name);
    if (is_float32(array) != is_float32(like))
        throw py::type_error(std::string(name) + ": expected the dtype of " + like_name + ", " +
                             dtype_text(like) + ", got " + dtype_text(array));
    return array;
}

void require_ndim(const py::array& array, const char* name, py::ssize_t ndim, const char* meaning) {
    if (array.ndim() != ndim)
        throw py::value_error(std::string(name) + ": expected " + std::to_string(ndim) + " dimensions " +
                              meaning + ", got shape " + shape_text(shape_of(array)));
}

void require_shape(const py::array& array, const char* name, const Shape& shape) {
    if (!std::equal(shape.begin(), shape.end(), array.shape(), array.shape() + array.ndim()))
        throw py::value_error(std::string(name) + ": expected shape " + shape_text(shape) + ", got " +
                              shape_text(shape_of(array)));
}

namespace {

// From so many bytes on, results are in recycled memory.
constexpr std::size_t kLarge = 64 << 10;

struct Recycled {
    void* memory;
    std::size_t bytes;
};

}  // namespace

template <class T>
py::array_t<T> new_array(const Shape& shape) {
    std::size_t bytes = sizeof(T);
    for (const index_t size : shape)
        if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(size), &bytes))
            return py::array_t<T>(shape);  // NumPy says what is wrong
    if (bytes < kLarge) {
        // By NumPy's own function: py::array_t first writes shapes and strides into vectors.
        static auto& numpy = py::detail::npy_api::get();
        PyObject* array = numpy.PyArray_NewFromDescr_(
            numpy.PyArray_Type_, py::dtype::of<T>().release().ptr(), static_cast<int>(shape.size()),
            const_cast<Py_intptr_t*>(shape.data()), nullptr, nullptr, 0, nullptr);
        if (!array) throw py::error_already_set();
        return py::reinterpret_steal<py::array_t<T>>(array);
    }
    auto block = std::make_unique<Recycled>(Recycled{recycled_allocate(bytes), bytes});
    void* memory = block->memory;
    const py::capsule owner(block.release(), [](void* pointer) {
        const std::unique_ptr<Recycled> released(static_cast<Recycled*>(pointer));
        recycled_release(released->memory, released->bytes);
    });
    return py::array_t<T>(shape, static_cast<T*>(memory), owner);
}
template py::array_t<float> new_array(const Shape& shape);
template py::array_t<double> new_array(const Shape& shape);
template py::array_t<std::int32_t> new_array(const Shape& shape);

py::array new_array(const Shape& shape, const py::array& like) {
    if (is_float32(like)) return new_array<float>(shape);
    return new_array<double>(shape);
}

py::array output(const py::object& out, const Shape& shape, const py::array& like,
                 std::initializer_list<py::array> inputs, bool in_place, const char* name) {
    if (out.is_none()) return new_array(shape, like);
    py::array array = array_like(out, name, like, "the inputs");
    require_fit(array, name, shape, inputs, in_place);
    return array;
}

namespace {

// A new array with the shape of x, whose axes follow one another in memory as those of x do.
py::array new_array_like(const py::array& x) {
    if (x.flags() & py::array::c_style) return new_array(shape_of(x), x);
    std::vector<py::ssize_t> order(static_cast<std::size_t>(x.ndim()));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](py::ssize_t a, py::ssize_t b) {
        return std::abs(x.strides(a)) > std::abs(x.strides(b));
    });
    Shape shape;
    py::tuple axes(order.size());
    for (std::size_t d = 0; d < order.size(); ++d) {
        shape.push_back(x.shape(order[d]));
        axes[static_cast<std::size_t>(order[d])] = py::int_(d);
    }
    return new_array(shape, x).attr("transpose")(axes);
}

}  // namespace

py::array output_like(const py::object& out, const py::array& x, std::initializer_list<py::array> inputs) {
    if (out.is_none()) return new_array_like(x);
    return output(out, shape_of(x), x, inputs, true);
}

index_t integer_of(const py::handle& object, const char* name) {
    // Sizes, strides and counts beyond this fit no array, and their products would exceed an index.
    constexpr index_t kLargest = 2147483647;
    if (PyBool_Check(object.ptr()) || !PyIndex_Check(object.ptr()) || py::isinstance<py::array>(object))
        throw py::type_error(std::string(name) + ": expected an int, got " + kind_of(object));
    const index_t number = PyNumber_AsSsize_t(object.ptr(), nullptr);  // clipped where it exceeds the type
    if (number == -1 && PyErr_Occurred()) throw py::error_already_set();
    if (number > kLargest || number < -kLargest)
        throw py::value_error(std::string(name) + ": expected an int within 2^31, got " +
                              py::str(object).cast<std::string>());
    return number;
}

std::uint64_t seed_of(const py::handle& object) {
    if (PyBool_Check(object.ptr()) || !PyIndex_Check(object.ptr()) || py::isinstance<py::array>(object))
        throw py::type_error("seed: expected an int, got " + kind_of(object));
    const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
    if (!number) throw py::error_already_set();
    const std::uint64_t seed = PyLong_AsUnsignedLongLong(number.ptr());
    if (seed == static_cast<std::uint64_t>(-1) && PyErr_Occurred()) {
        PyErr_Clear();
        throw py::value_error("seed: expected an int from 0 to 2^64 - 1, got " +
                              py::str(object).cast<std::string>());
    }
    return seed;
}

double number_of(const py::handle& object, const char* name) {
    const double number = py::isinstance<py::array>(object) ? -1 : PyFloat_AsDouble(object.ptr());
    if (py::isinstance<py::array>(object) || (number == -1 && PyErr_Occurred())) {
        PyErr_Clear();
        throw py::type_error(std::string(name) + ": expected a number, got " + kind_of(object));
    }
    return number;
}

std::pair<index_t, index_t> pair_of(const py::handle& object, const char* name) {
    if (py::isinstance<py::tuple>(object) || py::isinstance<py::list>(object)) {
        const auto items = py::reinterpret_borrow<py::sequence>(object);
        if (items.size() != 2)
            throw py::value_error(std::string(name) + ": expected an int or a pair of ints, got " +
                                  std::to_string(items.size()) + " items");
        return {integer_of(items[0], name), integer_of(items[1], name)};
    }
    const index_t both = integer_of(object, name);
    return {both, both};
}

Shape image_shape_of(const py::handle& object, const char* name) {
    if (!py::isinstance<py::tuple>(object) && !py::isinstance<py::list>(object))
        throw py::type_error(std::string(name) + ": expected a tuple of 4 ints, got " + kind_of(object));
    Shape shape;
    for (const py::handle item : py::reinterpret_borrow<py::sequence>(object))
        shape.push_back(integer_of(item, name));
    if (shape.size() != 4 || *std::min_element(shape.begin(), shape.end()) < 0)
        throw py::value_error(std::string(name) +
                              ": expected 4 sizes (batch, channels, height, width), got " +
                              shape_text(shape));
    return shape;
}

}  // namespace ranvier
