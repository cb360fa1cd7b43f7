// A fixture that runs a test once for every instruction set that the machine has.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "ranvier/cpu.h"

class EachIsa : public testing::TestWithParam<std::string> {
protected:
    void SetUp() override {
        before_ = ranvier::active_isa();
        ranvier::set_active_isa(GetParam());
    }
    void TearDown() override { ranvier::set_active_isa(before_); }

private:
    std::string before_;
};

#define RANVIER_EACH_ISA(Suite)                                                                 \
    INSTANTIATE_TEST_SUITE_P(Isa, Suite, testing::ValuesIn(ranvier::cpu_info().supported_isas), \
                             [](const auto& info) { return info.param; })
