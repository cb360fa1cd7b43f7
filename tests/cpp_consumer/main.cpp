// A product through the installed C++ core, under every instruction set that this processor runs; prints
// the names of those sets, one on each line.
#include <cstdio>
#include <vector>

#include "ranvier/cpu.h"
#include "ranvier/matmul.h"

int main() {
    const std::vector<float> a = {1, 2, 3, 4, 5, 6};
    const std::vector<float> b = {7, 8, 9, 10, 11, 12};
    const std::vector<float> expected = {58, 64, 139, 154};
    for (const std::string& isa : ranvier::cpu_info().supported_isas) {
        ranvier::set_active_isa(isa);
        std::vector<float> c(4);
        ranvier::matmul<float>(ranvier::row_major(a.data(), 2, 3), ranvier::row_major(b.data(), 3, 2),
                               ranvier::row_major(c.data(), 2, 2));
        if (c != expected) {
            std::fprintf(stderr, "%s: the product is wrong\n", isa.c_str());
            return 1;
        }
        std::puts(isa.c_str());
    }
}
