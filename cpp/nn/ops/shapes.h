// Shape inference: of a sample of each operation's output, from those of its inputs. What does not fit is
// told by std::invalid_argument, which says what was expected and what came. Each is defined in the file of
// its op.
#pragma once

#include <vector>

#include "../graph.h"

namespace ranvier {

using InputShapes = std::vector<Shape>;

Shape infer_shape(const LinearSpec& spec, const InputShapes& inputs);
Shape infer_shape(const Conv2dSpec& spec, const InputShapes& inputs);
Shape infer_shape(const Pool2dSpec& spec, const InputShapes& inputs);
Shape infer_shape(const AdaptivePool2dSpec& spec, const InputShapes& inputs);
Shape infer_shape(const DropoutSpec& spec, const InputShapes& inputs);
Shape infer_shape(const GaussianNoiseSpec& spec, const InputShapes& inputs);
Shape infer_shape(const RandomShiftSpec& spec, const InputShapes& inputs);
Shape infer_shape(const RandomRotationSpec& spec, const InputShapes& inputs);
Shape infer_shape(const RandomHorizontalFlipSpec& spec, const InputShapes& inputs);
Shape infer_shape(const RandomCropSpec& spec, const InputShapes& inputs);
Shape infer_shape(const ActivationSpec& spec, const InputShapes& inputs);
Shape infer_shape(const PReLUSpec& spec, const InputShapes& inputs);
Shape infer_shape(const RReLUSpec& spec, const InputShapes& inputs);
Shape infer_shape(const MaxoutSpec& spec, const InputShapes& inputs);
Shape infer_shape(const SoftmaxSpec& spec, const InputShapes& inputs);
Shape infer_shape(const BatchNormSpec& spec, const InputShapes& inputs);
Shape infer_shape(const LayerNormSpec& spec, const InputShapes& inputs);
Shape infer_shape(const StandardizeSpec& spec, const InputShapes& inputs);
Shape infer_shape(const EmbeddingSpec& spec, const InputShapes& inputs);
Shape infer_shape(const GroupNormSpec& spec, const InputShapes& inputs);
Shape infer_shape(const ConvTranspose2dSpec& spec, const InputShapes& inputs);
Shape infer_shape(const UpsampleSpec& spec, const InputShapes& inputs);
Shape infer_shape(const RecurrentLayerSpec& spec, const InputShapes& inputs);
Shape infer_shape(const CustomSpec& spec, const InputShapes& inputs);
Shape infer_shape(const AddSpec& spec, const InputShapes& inputs);
Shape infer_shape(const ConcatSpec& spec, const InputShapes& inputs);
Shape infer_shape(const UnflattenSpec& spec, const InputShapes& inputs);

// Whether a layer gives its input as it is in evaluation.
template <class Spec>
bool is_nothing_in_evaluation(const Spec&) {
    return false;
}
inline bool is_nothing_in_evaluation(const DropoutSpec&) { return true; }
inline bool is_nothing_in_evaluation(const GaussianNoiseSpec&) { return true; }
inline bool is_nothing_in_evaluation(const RandomShiftSpec&) { return true; }
inline bool is_nothing_in_evaluation(const RandomRotationSpec&) { return true; }
inline bool is_nothing_in_evaluation(const RandomHorizontalFlipSpec&) { return true; }

}  // namespace ranvier
