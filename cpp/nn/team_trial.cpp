#include "team_trial.h"

#include <algorithm>
#include <cmath>

namespace ranvier {
namespace {

// Batches between two trials at least.
constexpr int kLeastBetween = 50;
// Batches of each way in a trial. The first finds its data in the other way's caches and does not count.
constexpr int kTried = 3;
// A way that takes so much longer is not tried any further; and one that takes so little less is not taken.
constexpr double kClearlySlower = 1.3, kHardlyFaster = 0.95;
// Batches that take so many seconds always use all threads.
constexpr double kLong = 1e-3;
// What trials may cost of the whole time.
constexpr double kCost = 0.005;

}  // namespace

void TeamTrial::begin(Stage stage) {
    stage_ = stage;
    batches_ = 0;
    seconds_ = 0;
}

void TeamTrial::took(double seconds) {
    ++batches_;
    seconds_ += seconds;
    if (stage_ == Stage::between) {
        if (batches_ < kLeastBetween || seconds_ < pause_) return;
        best_[false] = best_[true] = std::numeric_limits<double>::infinity();
        return begin(Stage::chosen);
    }
    if (batches_ > 1) best() = std::min(best(), seconds);
    if (stage_ == Stage::chosen) {
        if (batches_ < kTried) return;
        if (!alone_ && best() > kLong) return begin(Stage::between);
        alone_ = !alone_;
        return begin(Stage::other);
    }
    if (batches_ == kTried || (batches_ > 1 && best() > kClearlySlower * best_[!alone_])) decide();
}

// At the end of the stage that tried the other way.
void TeamTrial::decide() {
    pause_ = batches_ * std::abs(best_[false] - best_[true]) / kCost;
    if (best() >= kHardlyFaster * best_[!alone_]) alone_ = !alone_;
    begin(Stage::between);
}

}  // namespace ranvier
