// Whether this process is a child of fork(), which has none of its parent's threads but the one that forked.
// Ours are gone then; and OpenMP's, which another library may have started, would be waited for in vain.
#pragma once

namespace ranvier {

bool is_forked_child();

}  // namespace ranvier
