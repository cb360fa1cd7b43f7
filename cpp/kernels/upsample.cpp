// Upsampling: a row of the result is one row of the plane, or the mean of two, read at its columns' sources.
#include "ranvier/upsample.h"

#include <algorithm>
#include <cmath>

#include "../platform/denormals.h"
#include "ranvier/memory.h"
#include "ranvier/threads.h"

namespace ranvier {
namespace {

constexpr index_t kPixelsOfTask = 8192;
constexpr double kCost = 6;  // of a pixel of the result, for threads_for

index_t enlarged(index_t size, double factor) {
    return static_cast<index_t>(std::floor(static_cast<double>(size) * factor));
}

template <class Body>
void for_each_plane(index_t planes, index_t pixels, Body&& body) {
    FlushDenormals flush;
    const index_t each = std::max<index_t>(1, kPixelsOfTask / std::max<index_t>(1, pixels));
    parallel_for(ceil_div(planes, each), threads_for(static_cast<double>(planes * pixels) * kCost),
                 [&](index_t task) {
                     for (index_t i = task * each; i < std::min(planes, (task + 1) * each); ++i) body(i);
                 });
}

}  // namespace

std::vector<UpsampleSource> nearest_sources(index_t size, double factor) {
    std::vector<UpsampleSource> sources;
    for (index_t i = 0; i < enlarged(size, factor); ++i) {
        const auto at = std::min(static_cast<index_t>(std::floor(static_cast<double>(i) / factor)), size - 1);
        sources.push_back({at, at, 0});
    }
    return sources;
}

std::vector<UpsampleSource> linear_sources(index_t size, double factor, bool align_corners) {
    const index_t count = enlarged(size, factor);
    const double step = count > 1 ? static_cast<double>(size - 1) / static_cast<double>(count - 1) : 0;
    std::vector<UpsampleSource> sources;
    for (index_t i = 0; i < count; ++i) {
        const double at = align_corners ? static_cast<double>(i) * step
                                        : std::max(0.0, (static_cast<double>(i) + 0.5) / factor - 0.5);
        const auto first = std::min(static_cast<index_t>(at), size - 1);
        const double share = at - static_cast<double>(first);
        sources.push_back({first, std::min(first + 1, size - 1), share});
    }
    return sources;
}

template <class T>
void upsample(index_t planes, index_t height, index_t width, const std::vector<UpsampleSource>& rows,
              const std::vector<UpsampleSource>& columns, const T* x, T* y) {
    const auto out_height = static_cast<index_t>(rows.size()),
               out_width = static_cast<index_t>(columns.size());
    for_each_plane(planes, out_height * out_width, [&](index_t plane) {
        const T* from = x + plane * height * width;
        T* to = y + plane * out_height * out_width;
        Scratch<T> mean(width);
        for (const UpsampleSource& row : rows) {
            const T* line = from + row.first * width;
            if (row.share != 0) {
                const T *second = from + row.second * width, share = static_cast<T>(row.share);
                for (index_t j = 0; j < width; ++j)
                    mean.data()[j] = (1 - share) * line[j] + share * second[j];
                line = mean.data();
            }
            for (const UpsampleSource& column : columns) {
                const T share = static_cast<T>(column.share);
                *to++ = share == 0 ? line[column.first]
                                   : (1 - share) * line[column.first] + share * line[column.second];
            }
        }
    });
}

template <class T>
void upsample_backward(index_t planes, index_t height, index_t width, const std::vector<UpsampleSource>& rows,
                       const std::vector<UpsampleSource>& columns, const T* grad, T* grad_x) {
    const auto out_height = static_cast<index_t>(rows.size()),
               out_width = static_cast<index_t>(columns.size());
    for_each_plane(planes, out_height * out_width, [&](index_t plane) {
        const T* from = grad + plane * out_height * out_width;
        T* to = grad_x + plane * height * width;
        std::fill_n(to, height * width, T{});
        Scratch<T> line(width);
        for (const UpsampleSource& row : rows) {
            std::fill_n(line.data(), width, T{});
            for (const UpsampleSource& column : columns) {
                const T share = static_cast<T>(column.share), g = *from++;
                line.data()[column.first] += (1 - share) * g;
                if (share != 0) line.data()[column.second] += share * g;
            }
            const T share = static_cast<T>(row.share);
            for (index_t j = 0; j < width; ++j) to[row.first * width + j] += (1 - share) * line.data()[j];
            for (index_t j = 0; share != 0 && j < width; ++j)
                to[row.second * width + j] += share * line.data()[j];
        }
    });
}

#define RANVIER_INSTANTIATE(T)                                                                     \
    template void upsample(index_t, index_t, index_t, const std::vector<UpsampleSource>&,          \
                           const std::vector<UpsampleSource>&, const T*, T*);                      \
    template void upsample_backward(index_t, index_t, index_t, const std::vector<UpsampleSource>&, \
                                    const std::vector<UpsampleSource>&, const T*, T*);
RANVIER_INSTANTIATE(float)
RANVIER_INSTANTIATE(double)

}  // namespace ranvier
