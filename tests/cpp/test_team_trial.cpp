// The choice between all threads and one, with times that a machine might take.
#include <gtest/gtest.h>

#include "../../cpp/nn/team_trial.h"

namespace {

using ranvier::TeamTrial;

// Batches of an epoch, and how many of them took one thread.
struct Epoch {
    int batches = 0, alone = 0;
    double seconds = 0;
};
Epoch run(TeamTrial& trial, int batches, double with_team, double without) {
    Epoch epoch;
    for (; epoch.batches < batches; ++epoch.batches) {
        const double took = trial.alone() ? without : with_team;
        epoch.alone += trial.alone();
        epoch.seconds += took;
        trial.took(took);
    }
    return epoch;
}

TEST(TeamTrial, BeginsWithAllThreads) {
    TeamTrial trial;
    EXPECT_EQ(run(trial, 50, 2e-4, 1e-4).alone, 0);
}

TEST(TeamTrial, TakesOneThreadIfThatIsFaster) {
    TeamTrial trial;
    run(trial, 60, 2e-4, 1e-4);
    EXPECT_GE(run(trial, 5000, 2e-4, 1e-4).alone, 4900);
}

TEST(TeamTrial, CostsLittleIfAllThreadsAreFaster) {
    TeamTrial trial;
    run(trial, 200, 1e-4, 1.7e-4);
    const Epoch epoch = run(trial, 100000, 1e-4, 1.7e-4);
    EXPECT_GT(epoch.alone, 0);
    EXPECT_LE(epoch.seconds, 1.006 * 100000 * 1e-4);
}

TEST(TeamTrial, StaysWithAllThreadsIfOneIsHardlyFaster) {
    TeamTrial trial;
    EXPECT_LE(run(trial, 5000, 1e-4, 0.97e-4).alone, 5000 / 15);
}

TEST(TeamTrial, FollowsTheMachine) {
    TeamTrial trial;
    run(trial, 1000, 1e-4, 1.6e-4);
    run(trial, 1000, 3e-4, 1.6e-4);
    EXPECT_GE(run(trial, 1000, 3e-4, 1.6e-4).alone, 950);
    run(trial, 1000, 1e-4, 1.6e-4);
    EXPECT_LE(run(trial, 1000, 1e-4, 1.6e-4).alone, 50);
}

// Such as a program that takes a processor now and then.
TEST(TeamTrial, OneSlowBatchDecidesNothing) {
    TeamTrial trial;
    int alone = 0;
    for (int i = 0; i < 20000; ++i) {
        alone += trial.alone();
        trial.took((trial.alone() ? 1.5e-4 : 1e-4) * (i % 7 == 0 ? 20 : 1));
    }
    EXPECT_LE(alone, 20000 / 20);
}

TEST(TeamTrial, LongBatchesTakeAllThreads) {
    TeamTrial trial;
    EXPECT_EQ(run(trial, 1000, 2e-3, 1e-3).alone, 0);
}

}  // namespace
