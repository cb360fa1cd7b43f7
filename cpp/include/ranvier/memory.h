// Aligned memory: buffers that live as long as their owner, and scratch that a thread reuses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "ranvier/array.h"

namespace ranvier {

// Enough for any vector register and a cache line.
inline constexpr std::size_t kAlignment = 64;
// Elements in so much.
template <class T>
inline constexpr index_t kCacheLine = static_cast<index_t>(kAlignment / sizeof(T));

void* aligned_allocate(std::size_t bytes);  // throws std::bad_alloc
void aligned_release(void* pointer) noexcept;

// Aligned memory for large results. What is released is kept, up to 64 MiB, and serves again: the system
// would hand out pages that it must first clear, which costs more than many a kernel. For any thread; `bytes`
// is the same in both.
void* recycled_allocate(std::size_t bytes);  // throws std::bad_alloc
void recycled_release(void* pointer, std::size_t bytes) noexcept;

// The bytes of so many elements; throws std::bad_alloc if there are more than memory could hold.
template <class T>
std::size_t byte_count(index_t elements) {
    if (elements < 0 || elements > PTRDIFF_MAX / static_cast<index_t>(sizeof(T))) throw std::bad_alloc();
    return static_cast<std::size_t>(elements) * sizeof(T);
}

// A zero-filled, aligned, fixed-size buffer.
template <class T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(index_t size)
        : data_(static_cast<T*>(aligned_allocate(byte_count<T>(size)))), size_(size) {
        for (index_t i = 0; i < size; ++i) data_[i] = T{};
    }
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~Buffer() { aligned_release(data_); }

    T* data() { return data_; }
    const T* data() const { return data_; }
    index_t size() const { return size_; }
    T& operator[](index_t i) { return data_[i]; }
    const T& operator[](index_t i) const { return data_[i]; }

private:
    T* data_ = nullptr;
    index_t size_ = 0;
};

namespace detail {
void* scratch_take(std::size_t bytes);
void scratch_give_back(void* pointer) noexcept;
}  // namespace detail

// Uninitialised aligned working memory of the calling thread. Blocks go back to a list of the
// thread and serve again, so a loop that asks for the same sizes allocates only in its first turn.
template <class T>
class Scratch {
public:
    explicit Scratch(index_t size) : data_(static_cast<T*>(detail::scratch_take(byte_count<T>(size)))) {}
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { detail::scratch_give_back(data_); }

    T* data() const { return data_; }

private:
    T* data_;
};

}  // namespace ranvier
