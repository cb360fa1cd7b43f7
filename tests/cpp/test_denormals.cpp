// Denormals are flushed within the library's scopes, and are the caller's again in calls out of them.
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <thread>

#include "../../cpp/platform/denormals.h"

namespace {

using ranvier::CallersDenormals;
using ranvier::denormal_mode;
using ranvier::DenormalMode;
using ranvier::FlushDenormals;
using ranvier::kFlush;
using ranvier::set_denormal_mode;

// Whether this thread's arithmetic gives denormal results, and takes them for what they are.
bool gives_denormals() {
    const volatile float least = std::numeric_limits<float>::min();
    return least * 0.5f != 0;
}
bool takes_denormals() {
    const volatile float tiny = std::numeric_limits<float>::denorm_min();
    return tiny * 16777216.0f != 0;
}

// Sets the mode for one test, and back.
class Mode {
public:
    explicit Mode(DenormalMode flushing) : before_(denormal_mode()) {
        set_denormal_mode((before_ & ~kFlush) | flushing);
    }
    ~Mode() { set_denormal_mode(before_); }

private:
    DenormalMode before_;
};

class Denormals : public testing::Test {
protected:
    void SetUp() override {
        if (kFlush == 0) GTEST_SKIP() << "this processor's denormals are left alone";
    }
};

TEST_F(Denormals, AreFlushedWithinAScopeAndBackBehindIt) {
    const Mode normal(0);
    {
        FlushDenormals flush;
        EXPECT_FALSE(gives_denormals());
        EXPECT_FALSE(takes_denormals());
        {
            FlushDenormals inner;
            EXPECT_FALSE(gives_denormals());
        }
        EXPECT_FALSE(gives_denormals());
    }
    EXPECT_TRUE(gives_denormals());
    EXPECT_TRUE(takes_denormals());
}

TEST_F(Denormals, AreTheCallersInACallOut) {
    const Mode normal(0);
    FlushDenormals flush;
    FlushDenormals inner;
    {
        CallersDenormals out;
        EXPECT_TRUE(gives_denormals());
        EXPECT_TRUE(takes_denormals());
    }
    EXPECT_FALSE(gives_denormals());
    EXPECT_FALSE(takes_denormals());
}

TEST_F(Denormals, OfACallerWhoFlushesThemStayFlushedInACallOut) {
    const Mode flushing(kFlush);
    FlushDenormals flush;
    {
        CallersDenormals out;
        EXPECT_FALSE(gives_denormals());
        EXPECT_FALSE(takes_denormals());
    }
    EXPECT_EQ(denormal_mode() & kFlush, kFlush);
}

// On x86 there are two bits, for results and for operands.
TEST_F(Denormals, OfACallerWhoSetOneBitAreThatAgain) {
    for (DenormalMode bit = kFlush & -kFlush; bit <= kFlush; bit <<= 1) {
        if (!(kFlush & bit)) continue;
        const Mode partial(bit);
        {
            FlushDenormals flush;
            {
                CallersDenormals out;
                EXPECT_EQ(denormal_mode() & kFlush, bit);
            }
            EXPECT_EQ(denormal_mode() & kFlush, kFlush);
        }
        EXPECT_EQ(denormal_mode() & kFlush, bit);
    }
}

TEST_F(Denormals, AreRightWhereACallOutCallsTheLibraryAgain) {
    const Mode normal(0);
    FlushDenormals flush;
    {
        CallersDenormals out;
        {
            FlushDenormals again;
            EXPECT_FALSE(gives_denormals());
            {
                CallersDenormals out_again;
                EXPECT_TRUE(gives_denormals());
            }
            EXPECT_FALSE(gives_denormals());
        }
        EXPECT_TRUE(gives_denormals());
        {
            CallersDenormals nested;  // there is nothing left to give back
            EXPECT_TRUE(gives_denormals());
        }
        EXPECT_TRUE(gives_denormals());
    }
    EXPECT_FALSE(gives_denormals());
}

// Who flushes denormals while called has them so when calling the library in turn.
TEST_F(Denormals, FollowWhatTheCalledSetForItself) {
    const Mode normal(0);
    FlushDenormals flush;
    CallersDenormals out;
    const Mode flushing(kFlush);
    FlushDenormals again;
    CallersDenormals out_again;
    EXPECT_FALSE(gives_denormals());
}

TEST_F(Denormals, AreRightBehindAnException) {
    const Mode normal(0);
    {
        FlushDenormals flush;
        try {
            CallersDenormals out;
            throw std::runtime_error("from outside");
        } catch (const std::runtime_error&) {
            EXPECT_FALSE(gives_denormals());
        }
        CallersDenormals out;
        EXPECT_TRUE(gives_denormals());
    }
    EXPECT_TRUE(gives_denormals());
}

TEST_F(Denormals, OfOneThreadAreNotAnothers) {
    const Mode normal(0);
    FlushDenormals flush;
    std::thread([] {
        const Mode flushing(kFlush);
        CallersDenormals out;  // this thread is in no scope
        EXPECT_FALSE(gives_denormals());
    }).join();
    CallersDenormals out;
    EXPECT_TRUE(gives_denormals());
}

}  // namespace
