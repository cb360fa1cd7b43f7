// The team's job.
//
// A barrier behind each job would wait for every member, asleep or not, and to wake a thread takes
// microseconds to milliseconds. Here a member that comes late finds the work done.
//
// Tasks are dealt out in runs, the same ones to the same threads at every call, so that what a thread wrote
// last time is still in its caches; who has finished steals from the others' runs.
#include "team.h"

#include <strings.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <utility>

#include "pause.h"

namespace ranvier {
namespace {

using std::chrono::microseconds;

// How long a member looks out for the next job before it sleeps: longer than the pauses between the kernels
// of a training step.
constexpr microseconds kAlert{1000};
constexpr int kLooks = 64;  // between two looks at the clock
// After so long a member offers its processor to others, while it holds no task: were it taken in the middle
// of one, all would wait for some milliseconds until it is back.
constexpr microseconds kTurn{1000};
// A wait for a member that is no part of the work: somebody else has its processor.
constexpr microseconds kLongWait{50};
// Small jobs then do without members for so many times that wait, which is thus a small part of all; but not
// for much longer than other libraries' idle threads spin.
constexpr int kDistrust = 32;
constexpr std::chrono::milliseconds kMostDistrust{100};

// The states of a job, its number's last two bits.
constexpr std::uint32_t kClosed = 0, kOpen = 1, kDismissed = 2, kStates = 4;

// OpenMP's word for threads that shall not spin.
microseconds alert_time() {
    const char* policy = std::getenv("OMP_WAIT_POLICY");
    return policy && strcasecmp(policy, "passive") == 0 ? microseconds{0} : kAlert;
}

}  // namespace

void Team::open() { job_.store(job_.load(std::memory_order_relaxed) / kStates * kStates + kClosed); }

void Team::dismiss() { announce(kDismissed); }

// In a state other than closed a job has a new number.
void Team::announce(std::uint32_t state) {
    job_.store((job_.load(std::memory_order_relaxed) / kStates + 1) * kStates + state);
    if (asleep_.load() == 0) return;
    if (state == kOpen) before_waking(helpers_);
    job_.notify_all();
    if (state == kOpen) after_waking();
}

void Team::run(index_t tasks, int threads, detail::TaskFunction function, void* body) {
    const int helpers = static_cast<int>(std::min<index_t>({threads, threads_, tasks})) - 1;
    function_ = function;
    body_ = body;
    helpers_ = helpers;
    mode_ = denormal_mode();
    for (index_t thread = 0; thread <= helpers; ++thread) {
        shares_[thread].next.store(thread * tasks / (helpers + 1), std::memory_order_relaxed);
        shares_[thread].end = (thread + 1) * tasks / (helpers + 1);
    }
    announce(kOpen);
    take_tasks(0, [] { return false; });
    job_.store(job_.load(std::memory_order_relaxed) - kOpen + kClosed);
    wait_for(inside_, 0);
    if (const std::exception_ptr error = std::exchange(error_, nullptr)) {
        failed_.store(false);
        std::rethrow_exception(error);
    }
}

// First one's own, then the others', until there are none or leave() says so; returns whether none are left.
template <class Leave>
bool Team::take_tasks(int thread, Leave&& leave) {
    for (int k = 0; k <= helpers_; ++k) {
        Share& share = shares_[(thread + k) % (helpers_ + 1)];
        while (true) {
            if (leave()) return false;
            const index_t task = share.next.fetch_add(1, std::memory_order_relaxed);
            if (task >= share.end) break;
            run_task(task);
        }
    }
    return true;
}

// Keeps the first exception for the caller.
void Team::run_task(index_t task) {
    try {
        function_(body_, task);
    } catch (...) {
        if (!failed_.exchange(true)) error_ = std::current_exception();
    }
}

void Team::wait_for(const std::atomic<int>& value, int wanted) {
    for (int look = 0; value.load() != wanted && look < kLooks; ++look) pause();
    if (value.load() == wanted) return;
    const auto start = Clock::now();
    while (value.load() != wanted) std::this_thread::yield();
    const auto end = Clock::now();
    if (end - start <= kLongWait) return;
    const auto distrust = std::min<Clock::duration>(kDistrust * (end - start), kMostDistrust);
    distrusted_until_.store((end + distrust).time_since_epoch().count());
}

bool Team::was_prompt() const {
    return Clock::now().time_since_epoch().count() >= distrusted_until_.load(std::memory_order_relaxed);
}

void Team::serve(int member) {
    const DenormalMode mode = denormal_mode();
    Turn turn;
    for (std::uint32_t seen = 0;;) {
        seen = next_job(seen, member, turn);
        if (seen % kStates == kDismissed) break;
        // The caller closes a job and then looks who is inside; a member enters and then looks whether the
        // job is still open. In one order of these, so one of the two sees the other.
        inside_.fetch_add(1);
        bool finished = true;
        if (job_.load() == seen && member <= helpers_) {
            set_denormal_mode(mode_);
            finished = take_tasks(member, [&] { return Clock::now() - turn.began > kTurn; });
        }
        inside_.fetch_sub(1);
        if (!finished) {
            turn.end();
            seen = 0;  // to go on with the same job
        }
    }
    set_denormal_mode(mode);
}

// Waits for an open job other than `seen`, or to be dismissed.
std::uint32_t Team::next_job(std::uint32_t seen, int member, Turn& turn) {
    static const microseconds alert = alert_time();
    const auto bedtime = Clock::now() + alert;
    for (int look = 1;; ++look) {
        const std::uint32_t job = job_.load();
        if (job % kStates != kClosed && job != seen) return job;
        pause();
        if (look % kLooks != 0) continue;
        const auto now = Clock::now();
        if (now - turn.began > kTurn) turn.end();
        if (now > bedtime) {
            sleep(job, member);
            turn.began = Clock::now();
        }
    }
}

void Team::sleep(std::uint32_t job, int member) {
    before_sleeping(member);
    asleep_.fetch_add(1);
    job_.wait(job);
    asleep_.fetch_sub(1);
    after_sleeping(member);
}

void Team::Turn::end() {
    std::this_thread::yield();
    began = Clock::now();
}

}  // namespace ranvier
