// Pooling: planes are shared out; rows of windows inside the image go to the instruction set's kernel,
// windows over the border are done one by one.
#include "ranvier/pool2d.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernel_table.h"
#include "ranvier/memory.h"
#include "ranvier/sizes.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

void check_axis(index_t in, index_t kernel, index_t stride, index_t padding) {
    const auto refuse = [](const char* field, const std::string& expected, index_t got) {
        throw std::invalid_argument(std::string(field) + ": expected " + expected + ", got " +
                                    std::to_string(got));
    };
    if (in < 1) refuse("x", "planes of at least 1 pixel a side", in);
    if (kernel < 1) refuse("kernel_size", "at least 1", kernel);
    if (kernel > kLargestSize) refuse("kernel_size", "at most " + std::to_string(kLargestSize), kernel);
    if (stride < 1) refuse("stride", "at least 1", stride);
    if (padding < 0 || 2 * padding > kernel)
        refuse("padding", "0 to half the kernel of " + std::to_string(kernel), padding);
    if (kernel > in + 2 * padding)
        refuse("kernel_size",
               "a kernel no larger than the padded image of " + std::to_string(in + 2 * padding), kernel);
}

// Along one axis: the windows that lie inside the image are [first, end).
struct Inside {
    index_t first, end;

    Inside(index_t in, index_t out, index_t kernel, index_t stride, index_t padding) {
        first = std::min(out, ceil_div(padding, stride));
        end = in + padding >= kernel ? std::min(out, (in + padding - kernel) / stride + 1) : 0;
        end = std::max(first, end);
    }
};

// The part of a window that is inside the image.
struct Window {
    index_t row0, row1, col0, col1;

    Window(const Pool2dShape& s, index_t y, index_t x) {
        const index_t top = y * s.stride_height - s.padding_height,
                      left = x * s.stride_width - s.padding_width;
        row0 = std::max<index_t>(0, top);
        row1 = std::min(s.in_height, top + s.kernel_height);
        col0 = std::max<index_t>(0, left);
        col1 = std::min(s.in_width, left + s.kernel_width);
    }
};

// Windows of 2 x 2, side by side.
bool is_2x2(const Pool2dShape& s) {
    return s.kernel_height == 2 && s.kernel_width == 2 && s.stride_height == 2 && s.stride_width == 2 &&
           s.padding_height == 0 && s.padding_width == 0;
}

template <class T>
T* plane_of(const Images<T>& images, const Pool2dShape& s, index_t plane) {
    return images.data + plane / s.channels * images.strides[0] + plane % s.channels * images.strides[1];
}

[[noreturn]] void refuse_index(std::int32_t index, index_t pixels) {
    throw std::invalid_argument("indices: expected positions from 0 to " + std::to_string(pixels - 1) +
                                ", got " + std::to_string(index));
}

// The position of a pixel in its plane. It is read once, for it may lie where another thread writes: what is
// checked is what is used.
index_t checked_index(const std::int32_t& at, index_t pixels) {
    const std::int32_t index = *const_cast<const volatile std::int32_t*>(&at);
    if (index < 0 || index >= pixels) refuse_index(index, pixels);
    return index;
}

// body(plane) for each plane of the batch.
template <class Body>
void for_each_plane(const Pool2dShape& s, Body&& body) {
    const index_t planes = s.batch * s.channels;
    const double work = static_cast<double>(planes) * static_cast<double>(s.out_height() * s.out_width()) *
                        static_cast<double>(s.kernel_height * s.kernel_width);
    const index_t size = std::max<index_t>(1, s.in_height * s.in_width);
    const index_t grouped = std::max<index_t>(1, 8192 / size);
    parallel_for(ceil_div(planes, grouped), threads_for(work), [&](index_t task) {
        for (index_t plane = task * grouped; plane < std::min(planes, (task + 1) * grouped); ++plane)
            body(plane);
    });
}

// Calls inside(y, x0, count) for runs of windows inside the image and border(y, x) for the others.
template <class InsideBody, class BorderBody>
void for_each_window(const Pool2dShape& s, InsideBody&& inside, BorderBody&& border) {
    const index_t out_height = s.out_height(), out_width = s.out_width();
    const Inside rows(s.in_height, out_height, s.kernel_height, s.stride_height, s.padding_height);
    const Inside cols(s.in_width, out_width, s.kernel_width, s.stride_width, s.padding_width);
    for (index_t y = 0; y < out_height; ++y) {
        const bool row_inside = y >= rows.first && y < rows.end;
        const index_t first = row_inside ? cols.first : out_width, end = row_inside ? cols.end : out_width;
        for (index_t x = 0; x < first; ++x) border(y, x);
        if (first < end) inside(y, first, end - first);
        for (index_t x = end; x < out_width; ++x) border(y, x);
    }
}

// A plane with contiguous rows: the one that is there, or a copy.
template <class T>
const T* contiguous_rows(const T* plane, const index_t (&strides)[4], index_t height, index_t width, T* copy,
                         index_t& row_stride) {
    row_stride = strides[2];
    if (strides[3] == 1) return plane;
    row_stride = width;
    for (index_t i = 0; i < height; ++i)
        for (index_t j = 0; j < width; ++j) copy[i * width + j] = plane[i * strides[2] + j * strides[3]];
    return copy;
}

template <class T>
class PlanePooling {
public:
    PlanePooling(const Pool2dShape& shape, const Images<const T>& x, const Images<T>& y, index_t plane)
        : s_(shape),
          y_(y),
          copy_(x.strides[3] == 1 ? 0 : shape.in_height * shape.in_width),
          row_(y.strides[3] == 1 ? 0 : shape.out_width()),
          out_(plane_of(y, shape, plane)) {
        in_ = contiguous_rows(plane_of(x, shape, plane), x.strides, shape.in_height, shape.in_width,
                              copy_.data(), row_stride_);
    }

    void maxima(std::int32_t* indices) const {
        const index_t width = s_.out_width();
        if (is_2x2(s_) && y_.strides[3] == 1 && y_.strides[2] == width &&
            kernels<T>().pool->max_2x2(s_.out_height(), width, in_, row_stride_,
                                       static_cast<std::int32_t>(s_.in_width), out_, indices))
            return;
        for_each_window(
            s_,
            [&](index_t y, index_t x, index_t n) {
                const index_t top = y * s_.stride_height - s_.padding_height;
                const index_t left = x * s_.stride_width - s_.padding_width;
                kernels<T>().pool->max_row(n, in_ + top * row_stride_ + left, row_stride_, s_.kernel_height,
                                           s_.kernel_width, s_.stride_width,
                                           static_cast<std::int32_t>(top * s_.in_width + left),
                                           static_cast<std::int32_t>(s_.in_width), row_of(y, x),
                                           indices ? indices + y * width + x : nullptr);
                write(y, x, n);
            },
            [&](index_t y, index_t x) {
                std::int32_t at;
                out_[y * y_.strides[2] + x * y_.strides[3]] = border_maximum(Window(s_, y, x), at);
                if (indices) indices[y * width + x] = at;
            });
    }

    void averages() const {
        const T scale = T(1) / static_cast<T>(s_.kernel_height * s_.kernel_width);
        for_each_window(
            s_,
            [&](index_t y, index_t x, index_t n) {
                const index_t top = y * s_.stride_height - s_.padding_height;
                const index_t left = x * s_.stride_width - s_.padding_width;
                kernels<T>().pool->average_row(n, in_ + top * row_stride_ + left, row_stride_,
                                               s_.kernel_height, s_.kernel_width, s_.stride_width, scale,
                                               row_of(y, x));
                write(y, x, n);
            },
            [&](index_t y, index_t x) {
                const Window w(s_, y, x);
                T sum{};
                for (index_t i = w.row0; i < w.row1; ++i)
                    for (index_t j = w.col0; j < w.col1; ++j) sum += in_[i * row_stride_ + j];
                out_[y * y_.strides[2] + x * y_.strides[3]] = sum * scale;
            });
    }

private:
    // Where the kernels write the row from (y, x) on: the output itself, if its columns are contiguous.
    T* row_of(index_t y, index_t x) const {
        return y_.strides[3] == 1 ? out_ + y * y_.strides[2] + x : row_.data();
    }

    void write(index_t y, index_t x, index_t n) const {
        if (y_.strides[3] == 1) return;
        T* to = out_ + y * y_.strides[2] + x * y_.strides[3];
        for (index_t i = 0; i < n; ++i) to[i * y_.strides[3]] = row_.data()[i];
    }

    T border_maximum(const Window& w, std::int32_t& at) const {
        T most = in_[w.row0 * row_stride_ + w.col0];
        index_t best = w.row0 * s_.in_width + w.col0;
        for (index_t i = w.row0; i < w.row1; ++i)
            for (index_t j = w.col0; j < w.col1; ++j) {
                const T value = in_[i * row_stride_ + j];
                if (value > most || (value != value && most == most)) {
                    most = value;
                    best = i * s_.in_width + j;
                }
            }
        at = static_cast<std::int32_t>(best);
        return most;
    }

    const Pool2dShape& s_;
    const Images<T>& y_;
    Scratch<T> copy_, row_;
    T* out_;
    const T* in_;
    index_t row_stride_;
};

template <class T>
void clear_plane(const Images<T>& images, const Pool2dShape& s, T* plane) {
    if (images.strides[3] == 1 && images.strides[2] == s.in_width) {
        std::fill_n(plane, s.in_height * s.in_width, T{});
        return;
    }
    for (index_t i = 0; i < s.in_height; ++i)
        for (index_t j = 0; j < s.in_width; ++j) plane[i * images.strides[2] + j * images.strides[3]] = T{};
}

}  // namespace

index_t Pool2dShape::out_height() const {
    return (in_height + 2 * padding_height - kernel_height) / stride_height + 1;
}
index_t Pool2dShape::out_width() const {
    return (in_width + 2 * padding_width - kernel_width) / stride_width + 1;
}

void check(const Pool2dShape& s) {
    if (s.batch < 0 || s.channels < 0)
        throw std::invalid_argument("x: expected no negative batch or channels");
    check_axis(s.in_height, s.kernel_height, s.stride_height, s.padding_height);
    check_axis(s.in_width, s.kernel_width, s.stride_width, s.padding_width);
    checked_product({s.batch, s.channels, s.in_height, s.in_width}, "x");
    if (s.in_height > std::numeric_limits<std::int32_t>::max() / std::max<index_t>(1, s.in_width))
        throw std::invalid_argument("x: a plane of more than 2^31 pixels");
}

template <class T>
void max_pool2d(const Pool2dShape& shape, const Images<const T>& x, const Images<T>& y,
                std::int32_t* indices) {
    const index_t size = shape.out_height() * shape.out_width();
    for_each_plane(shape, [&](index_t plane) {
        PlanePooling<T>(shape, x, y, plane).maxima(indices ? indices + plane * size : nullptr);
    });
}

template <class T>
void max_pool2d_backward(const Pool2dShape& shape, const Images<const T>& grad, const std::int32_t* indices,
                         const Images<T>& grad_x) {
    const index_t height = shape.out_height(), width = shape.out_width();
    for_each_plane(shape, [&](index_t plane) {
        T* to = plane_of(grad_x, shape, plane);
        const T* from = plane_of(grad, shape, plane);
        const std::int32_t* at = indices + plane * height * width;
        const bool in_order = grad_x.strides[3] == 1 && grad_x.strides[2] == shape.in_width &&
                              grad.strides[3] == 1 && grad.strides[2] == width;
        if (2 * height != shape.in_height || 2 * width != shape.in_width || !is_2x2(shape) || !in_order)
            clear_plane(grad_x, shape, to);
        if (is_2x2(shape) && in_order)
            return kernels<T>().pool->max_2x2_backward(
                height, width, from, at, static_cast<std::int32_t>(shape.in_width), to, shape.in_width);
        const index_t pixels = shape.in_height * shape.in_width;
        for (index_t i = 0; in_order && i < height * width; ++i) to[checked_index(at[i], pixels)] += from[i];
        for (index_t y = 0; !in_order && y < height; ++y)
            for (index_t x = 0; x < width; ++x) {
                const index_t i = checked_index(at[y * width + x], pixels);
                to[i / shape.in_width * grad_x.strides[2] + i % shape.in_width * grad_x.strides[3]] +=
                    from[y * grad.strides[2] + x * grad.strides[3]];
            }
    });
}

template <class T>
void avg_pool2d(const Pool2dShape& shape, const Images<const T>& x, const Images<T>& y) {
    for_each_plane(shape, [&](index_t plane) { PlanePooling<T>(shape, x, y, plane).averages(); });
}

template <class T>
void avg_pool2d_backward(const Pool2dShape& shape, const Images<const T>& grad, const Images<T>& grad_x) {
    const T scale = T(1) / static_cast<T>(shape.kernel_height * shape.kernel_width);
    for_each_plane(shape, [&](index_t plane) {
        T* to = plane_of(grad_x, shape, plane);
        const T* from = plane_of(grad, shape, plane);
        clear_plane(grad_x, shape, to);
        for (index_t y = 0; y < shape.out_height(); ++y)
            for (index_t x = 0; x < shape.out_width(); ++x) {
                const Window w(shape, y, x);
                const T share = from[y * grad.strides[2] + x * grad.strides[3]] * scale;
                for (index_t i = w.row0; i < w.row1; ++i)
                    for (index_t j = w.col0; j < w.col1; ++j)
                        to[i * grad_x.strides[2] + j * grad_x.strides[3]] += share;
            }
    });
}

#define RANVIER_INSTANTIATE(T)                                                                             \
    template void max_pool2d(const Pool2dShape&, const Images<const T>&, const Images<T>&, std::int32_t*); \
    template void max_pool2d_backward(const Pool2dShape&, const Images<const T>&, const std::int32_t*,     \
                                      const Images<T>&);                                                   \
    template void avg_pool2d(const Pool2dShape&, const Images<const T>&, const Images<T>&);                \
    template void avg_pool2d_backward(const Pool2dShape&, const Images<const T>&, const Images<T>&);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
