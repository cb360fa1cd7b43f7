// A team of OpenMP's threads, and what OpenMP says about this process. Without OpenMP there is neither.
#pragma once

#include <vector>

#include "team.h"

namespace ranvier {

// Null in a build without OpenMP.
Team* openmp_team();

// Threads that a parallel region of the calling thread would have: OMP_NUM_THREADS, or what limits it now.
// Without OpenMP, OMP_NUM_THREADS alone; 0 if nothing is said.
int openmp_threads();
bool in_openmp_region();

// The processors of all places, if OpenMP binds threads to places (OMP_PLACES, OMP_PROC_BIND), else none. The
// affinity mask of a bound thread is its place's.
std::vector<int> openmp_processors();

}  // namespace ranvier
