// A team of threads of our own.
#pragma once

#include "team.h"

namespace ranvier {

Team& thread_pool();

}  // namespace ranvier
