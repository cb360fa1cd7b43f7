// Worker threads that take numbered tasks off the caller's hands, if they come in time.
#pragma once

#include "ranvier/threads.h"

namespace ranvier {

// Runs function(body, task) for each task in [0, tasks), on the calling thread and up to `helpers` workers.
// The caller waits for tasks that a worker has begun, but never for a worker to wake up: what nobody else has
// taken it does itself. While one caller has the workers, others run their tasks alone. Not for a child of
// fork().
void run_with_workers(index_t tasks, int helpers, detail::TaskFunction function, void* body);

// False for kDistrust after a caller had to wait long for a worker to end its task.
bool workers_were_prompt();

}  // namespace ranvier
