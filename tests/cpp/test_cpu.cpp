// The choice of an instruction set.
#include <gtest/gtest.h>

#include <stdexcept>

#include "ranvier/cpu.h"

namespace {

TEST(Cpu, RunsEverySupportedInstructionSet) {
    const std::string before = ranvier::active_isa();
    for (const std::string& isa : ranvier::cpu_info().supported_isas) {
        ranvier::set_active_isa(isa);
        EXPECT_EQ(ranvier::active_isa(), isa);
    }
    ranvier::set_active_isa(before);
}

TEST(Cpu, RefusesAnUnknownInstructionSet) {
    const std::string before = ranvier::active_isa();
    EXPECT_THROW(ranvier::set_active_isa("v9"), std::invalid_argument);
    EXPECT_EQ(ranvier::active_isa(), before);
}

}  // namespace
