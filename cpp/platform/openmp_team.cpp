// OpenMP's threads in a parallel region: the primary one is the caller, the others serve. The only file that
// knows OpenMP.
//
// A region ends with a barrier, which waits for every thread of the team, asleep or not. So a region is for
// many jobs, if there are many. How its threads wait for the next region, and on which processors they run,
// is OpenMP's matter and its environment variables'.
#include "openmp_team.h"

#ifdef _OPENMP
#include <omp.h>

#include <algorithm>
#include <csetjmp>
#include <thread>
#include <utility>

#include "affinity.h"
#include "fork.h"

namespace ranvier {
namespace {

class OpenmpTeam final : public Team {
public:
    void assemble(int threads, int usual, detail::RegionFunction function, void* body) override {
        work_ = {threads, std::min(std::max(threads, usual), kMostThreads), function, body};
        left_.store(0);
        open();
        // A thread that OpenMP starts now inherits the mode and keeps it, and may serve other libraries.
        callers_mode_ = denormal_mode();
        if (callers_mode_ & kFlush) set_denormal_mode(callers_mode_ & ~kFlush);
        enter_region();
        if (const std::exception_ptr error = std::exchange(thrown_, nullptr)) std::rethrow_exception(error);
    }

    bool is_worth_keeping() const override { return true; }

private:
    // A child of fork() that comes to the region's end must not wait for threads that it does not have: it
    // jumps over the barrier. Nothing here has a destructor that this could skip.
    void enter_region() {
        std::jmp_buf behind_barrier;
        if (setjmp(behind_barrier) != 0) return;
            // libgomp ends threads when a team is smaller than the last one, and starts them anew; so a team
            // is of the usual size, and who has no part in it waits at the barrier.
#pragma omp parallel num_threads(work_.size)
        {
            const int member = omp_get_thread_num();
            if (member == 0) {
                lead(omp_get_num_threads());
                if (is_forked_child()) std::longjmp(behind_barrier, 1);
            } else {
                make_way(member);
                if (member < work_.threads) serve(member);
                left_.fetch_add(1);
            }
        }
    }

    // No exception may leave a parallel region.
    void lead(int present) noexcept {
        if (callers_mode_ & kFlush) set_denormal_mode(callers_mode_);
        admit(std::min(work_.threads, present));
        if (Clock::now() - ended_ > kAwake) after_waking();
        try {
            work_.function(work_.body);
        } catch (...) {
            thrown_ = std::current_exception();
        }
        if (is_forked_child()) return;
        dismiss();
        // Who is late on this processor gets it now; at the barrier this thread would spin.
        wait_for(left_, present - 1);
        processor_.store(-1);
        ended_ = Clock::now();
    }

    // Systems like to put a woken thread on its waker's processor, and to leave it there for milliseconds,
    // queued behind the caller. So the caller lets it in for a moment, in which it moves to another
    // processor; unless OpenMP binds threads, for then they are where the user wants them.
    void after_waking() noexcept override {
        processor_.store(current_processor());
        std::this_thread::yield();
    }
    void after_sleeping(int member) noexcept override { make_way(member); }
    void make_way(int member) {
        const int callers = processor_.load();
        if (callers >= 0 && callers == current_processor() && omp_get_proc_bind() == omp_proc_bind_false)
            leave_processor(callers, member - 1);
    }

    // After so long the threads that OpenMP keeps may be asleep.
    static constexpr std::chrono::milliseconds kAwake{1};

    struct Work {
        int threads, size;
        detail::RegionFunction function;
        void* body;
    } work_ = {};
    DenormalMode callers_mode_ = 0;
    std::exception_ptr thrown_;
    std::atomic<int> left_{0};
    std::atomic<int> processor_{-1};  // the caller's, if in this region it has woken others
    Clock::time_point ended_;
};

}  // namespace

Team* openmp_team() {
    static OpenmpTeam& team = *new OpenmpTeam;
    return &team;
}

int openmp_threads() { return omp_get_max_threads(); }

bool in_openmp_region() { return omp_in_parallel(); }

std::vector<int> openmp_processors() {
    std::vector<int> all;
    if (omp_get_proc_bind() == omp_proc_bind_false) return all;
    for (int place = 0; place < omp_get_num_places(); ++place) {
        std::vector<int> ids(static_cast<std::size_t>(omp_get_place_num_procs(place)));
        omp_get_place_proc_ids(place, ids.data());
        all.insert(all.end(), ids.begin(), ids.end());
    }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
}

}  // namespace ranvier

#else
#include <algorithm>
#include <cstdlib>

namespace ranvier {

Team* openmp_team() { return nullptr; }

int openmp_threads() {
    const char* text = std::getenv("OMP_NUM_THREADS");
    return text ? std::max(0, std::atoi(text)) : 0;
}

bool in_openmp_region() { return false; }

std::vector<int> openmp_processors() { return {}; }

}  // namespace ranvier
#endif
