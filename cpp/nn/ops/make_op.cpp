// The choice of the op for a node.
#include "../op.h"

namespace ranvier {

template <class T>
std::unique_ptr<Op<T>> make_op(const OpSite<T>& site) {
    return std::visit([&](const auto& spec) { return make_op<T>(spec, site); },
                      static_cast<const Operation::variant&>(site.node.operation));
}

template std::unique_ptr<Op<float>> make_op(const OpSite<float>&);
template std::unique_ptr<Op<double>> make_op(const OpSite<double>&);

}  // namespace ranvier
