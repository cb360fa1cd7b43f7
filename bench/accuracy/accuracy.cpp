// The largest error of each activation over all float32 numbers, in units of the last place (ULP) of the
// exact value.
//
//   ranvier_accuracy [STRIDE [LIMIT]]
//
// Prints a table for the instruction set in use. With a stride every so many numbers are taken; a prime one
// meets all exponents. With a limit the program fails if an error exceeds it, or a special value is wrong.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "ranvier/activation.h"
#include "ranvier/cpu.h"
#include "ranvier/threads.h"

namespace ranvier {
#define RANVIER_TABLE(isa)                                  \
    namespace isa {                                         \
    void exponentials(index_t n, const float* x, float* y); \
    }
#include "isa_tables.inc"
#undef RANVIER_TABLE
}  // namespace ranvier

namespace {

using ranvier::Activation;
using ranvier::index_t;

double gelu(double x) {
    return std::isinf(x) ? (x > 0 ? x : -0.0) : x * 0.5 * std::erfc(-x / std::sqrt(2.0));
}
double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }
double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }

double silu(double x) { return std::isinf(x) && x < 0 ? -0.0 : x / (1 + std::exp(-x)); }
double mish(double x) {
    return std::isinf(x) && x < 0 ? -0.0 : x > 40 ? x : x * std::tanh(std::log1p(std::exp(x)));
}
double selu(double x) { return 1.0507009873554804934 * (x <= 0 ? 1.6732632423543772848 * std::expm1(x) : x); }
double hardswish(double x) { return x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6; }

struct Function {
    const char* name;
    void (*kernel)(index_t n, const float* x, float* y);
    double (*exact)(double x);
};

template <Activation F>
void activate(index_t n, const float* x, float* y) {
    ranvier::activation<float>(F, n, x, y, F == Activation::leaky_relu ? 0.01f : 1.0f);
}

void exponentials(index_t n, const float* x, float* y) {
    const std::string active = ranvier::active_isa();
#define RANVIER_TABLE(isa) \
    if (active == #isa) return ranvier::isa::exponentials(n, x, y);
#include "isa_tables.inc"
#undef RANVIER_TABLE
}

const Function kFunctions[] = {
    {"exp", exponentials, [](double x) { return std::exp(x); }},
    {"heaviside", activate<Activation::heaviside>,
     [](double x) { return std::isnan(x) ? x
                           : x > 0       ? 1.0
                                         : 0.0; }},
    {"sigmoid", activate<Activation::sigmoid>, sigmoid},
    {"tanh", activate<Activation::tanh>, [](double x) { return std::tanh(x); }},
    {"relu", activate<Activation::relu>, [](double x) { return x <= 0 ? 0 : x; }},
    {"leaky_relu", activate<Activation::leaky_relu>,
     [](double x) { return x <= 0 ? static_cast<double>(0.01f) * x : x; }},
    {"elu", activate<Activation::elu>, [](double x) { return x <= 0 ? std::expm1(x) : x; }},
    {"relu6", activate<Activation::relu6>, [](double x) { return x <= 0   ? 0
                                                                 : x >= 6 ? 6
                                                                          : x; }},
    {"selu", activate<Activation::selu>, selu},
    {"softplus", activate<Activation::softplus>, softplus},
    {"gelu", activate<Activation::gelu>, gelu},
    {"silu", activate<Activation::silu>, silu},
    {"mish", activate<Activation::mish>, mish},
    {"hardswish", activate<Activation::hardswish>, hardswish},
};

struct Worst {
    double ulp = 0;
    float at = 0;
    std::int64_t wrong =
        0;  // NaN, infinity or the sign of a zero where there is none, or none where there is
};

// What a float32 of this value's size is apart from the next.
double unit(double value) {
    const int exponent = value == 0 ? -126 : std::max(-126, std::ilogb(value));
    return std::ldexp(1.0, std::min(exponent, 127) - 23);
}

void judge(float x, float got, double exact, Worst& worst) {
    const float nearest = static_cast<float>(exact);
    if (std::isnan(exact) || std::isnan(got) || std::isinf(got)) {
        // Rounding may take the greatest numbers to infinity.
        const bool right = std::isnan(exact) ? std::isnan(got)
                                             : std::isinf(got) && (got > 0) == (exact > 0) &&
                                                   std::fabs(exact) >= 0x1.fffffep127;
        worst.wrong += !right;
        return;
    }
    if (got == 0 && nearest == 0 && exact == 0 && std::signbit(got) != std::signbit(exact)) ++worst.wrong;
    if (std::isinf(exact) || std::isinf(nearest)) exact = std::copysign(0x1p128, exact);
    const double ulp = std::fabs(static_cast<double>(got) - exact) / unit(exact);
    if (ulp > worst.ulp) {
        worst.ulp = ulp;
        worst.at = x;
    }
}

Worst walk(const Function& function, std::uint64_t stride) {
    constexpr std::uint64_t kAll = std::uint64_t{1} << 32;
    constexpr index_t kBlock = 4096;
    const std::uint64_t count = (kAll + stride - 1) / stride;
    const index_t blocks = static_cast<index_t>((count + kBlock - 1) / kBlock);
    std::vector<Worst> worst(static_cast<std::size_t>(blocks));
    ranvier::parallel_for(blocks, ranvier::num_threads(), [&](index_t block) {
        float x[kBlock], y[kBlock];
        for (index_t i = 0; i < kBlock; ++i) {
            const std::uint64_t number = (static_cast<std::uint64_t>(block * kBlock + i) * stride) % kAll;
            const auto bits = static_cast<std::uint32_t>(number);
            std::memcpy(x + i, &bits, sizeof bits);
        }
        function.kernel(kBlock, x, y);
        for (index_t i = 0; i < kBlock; ++i)
            judge(x[i], y[i], function.exact(static_cast<double>(x[i])),
                  worst[static_cast<std::size_t>(block)]);
    });
    Worst all;
    for (const Worst& one : worst) {
        all.wrong += one.wrong;
        if (one.ulp > all.ulp) {
            all.ulp = one.ulp;
            all.at = one.at;
        }
    }
    return all;
}

}  // namespace

int main(int argc, char** argv) {
    const std::uint64_t stride = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
    const double limit = argc > 2 ? std::strtod(argv[2], nullptr) : std::numeric_limits<double>::infinity();
    if (stride == 0 || !(limit > 0)) {
        std::fprintf(stderr, "usage: ranvier_accuracy [STRIDE [LIMIT]], both above zero\n");
        return 2;
    }
    std::printf("instruction set %s, every %lluth float32\n", ranvier::active_isa().c_str(),
                static_cast<unsigned long long>(stride));
    bool good = true;
    for (const Function& function : kFunctions) {
        const Worst worst = walk(function, stride);
        std::printf("| %-10s | %6.3f | %-15.9g | %lld |\n", function.name, worst.ulp,
                    static_cast<double>(worst.at), static_cast<long long>(worst.wrong));
        std::fflush(stdout);
        good = good && worst.ulp <= limit && worst.wrong == 0;
    }
    return good ? 0 : 1;
}
