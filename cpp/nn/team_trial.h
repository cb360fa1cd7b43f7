// Whether batches go faster on all threads or on the calling one alone, which is found by trying both.
#pragma once

#include <limits>

namespace ranvier {

// How long one processor takes to read what another one has written differs by machine, and on a virtual
// machine from one moment to the next: where it is long, small batches go faster on one thread. So now and
// then some batches go the other way. Their results do not depend on it.
class TeamTrial {
public:
    // How the next batch goes.
    bool alone() const { return alone_; }
    // The last batch took so long.
    void took(double seconds);

private:
    enum class Stage { between, chosen, other };

    void begin(Stage stage);
    void decide();
    double& best() { return best_[alone_]; }

    bool alone_ = false;
    Stage stage_ = Stage::between;
    int batches_ = 0;      // of this stage
    double seconds_ = 0;   // of this stage
    double pause_ = 0;     // the least seconds of the stage between trials
    double best_[2] = {};  // of a batch in this trial, by alone_
};

}  // namespace ranvier
