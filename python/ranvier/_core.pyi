"""The compiled core: kernels on NumPy arrays, and networks compiled into plans."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranvier.types import Array, Labels, LayerSpec, LossSpec, Pair, Samples, Weights

__version__: str
_testing: ModuleType

# --- platform ---------------------------------------------------------------------------------------------
def cpu_info() -> dict[str, Any]: ...
def num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def peak_flops(dtype: str) -> float: ...
def random_permutation(seed: int, stream: int, count: int) -> Labels: ...

# --- kernels ----------------------------------------------------------------------------------------------
def matmul(a: Array, b: Array, out: Array | None = None) -> Array: ...
def linear(x: Array, weight: Array, bias: Array | None = None, out: Array | None = None) -> Array: ...
def linear_backward(grad: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]: ...
def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    out: Array | None = None,
) -> Array: ...
def conv2d_backward(
    grad: Array,
    x: Array,
    weight: Array,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Array, Array]: ...
def max_pool2d(
    x: Array, kernel_size: Pair, *, stride: Pair | None = None, padding: Pair = 0, ceil_mode: bool = False
) -> tuple[Array, NDArray[np.int32]]: ...
def max_pool2d_backward(grad: Array, indices: NDArray[np.int32], input_shape: tuple[int, int, int, int]) -> Array: ...
def avg_pool2d(
    x: Array,
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array: ...
def avg_pool2d_backward(
    grad: Array,
    input_shape: tuple[int, int, int, int],
    kernel_size: Pair,
    *,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array: ...
def heaviside(x: Array, out: Array | None = None) -> Array: ...
def heaviside_backward(grad: Array, x: Array, out: Array | None = None) -> Array: ...
def sigmoid(x: Array, out: Array | None = None) -> Array: ...
def sigmoid_backward(grad: Array, x: Array, out: Array | None = None) -> Array: ...
def tanh(x: Array, out: Array | None = None) -> Array: ...
def tanh_backward(grad: Array, x: Array, out: Array | None = None) -> Array: ...
def relu(x: Array, out: Array | None = None) -> Array: ...
def relu_backward(grad: Array, x: Array, out: Array | None = None) -> Array: ...
def leaky_relu(x: Array, out: Array | None = None, *, negative_slope: float = 0.01) -> Array: ...
def leaky_relu_backward(grad: Array, x: Array, out: Array | None = None, *, negative_slope: float = 0.01) -> Array: ...
def elu(x: Array, out: Array | None = None, *, alpha: float = 1.0) -> Array: ...
def elu_backward(grad: Array, x: Array, out: Array | None = None, *, alpha: float = 1.0) -> Array: ...
def softplus(x: Array, out: Array | None = None) -> Array: ...
def softplus_backward(grad: Array, x: Array, out: Array | None = None) -> Array: ...
def gelu(x: Array, out: Array | None = None) -> Array: ...
def gelu_backward(grad: Array, x: Array, out: Array | None = None) -> Array: ...
def relu6(x: Array, out: Array | None = None) -> Array: ...
def relu6_backward(grad: Array, x: Array, out: Array | None = None) -> Array: ...
def selu(x: Array, out: Array | None = None) -> Array: ...
def selu_backward(grad: Array, x: Array, out: Array | None = None) -> Array: ...
def silu(x: Array, out: Array | None = None) -> Array: ...
def silu_backward(grad: Array, x: Array, out: Array | None = None) -> Array: ...
def mish(x: Array, out: Array | None = None) -> Array: ...
def mish_backward(grad: Array, x: Array, out: Array | None = None) -> Array: ...
def hardswish(x: Array, out: Array | None = None) -> Array: ...
def hardswish_backward(grad: Array, x: Array, out: Array | None = None) -> Array: ...
def prelu(x: Array, weight: Array, out: Array | None = None) -> Array: ...
def prelu_backward(grad: Array, x: Array, weight: Array) -> tuple[Array, Array]: ...
def rrelu(
    x: Array,
    out: Array | None = None,
    *,
    lower: float = 0.125,
    upper: float = 1 / 3,
    training: bool = False,
    seed: int = 0,
    slopes: Array | None = None,
) -> Array: ...
def rrelu_backward(grad: Array, slopes: Array, out: Array | None = None) -> Array: ...
def dropout(x: Array, out: Array | None = None, *, p: float = 0.5, seed: int = 0) -> Array: ...
def dropout_backward(grad: Array, out: Array | None = None, *, p: float = 0.5, seed: int = 0) -> Array: ...
def maxout(x: Array, pieces: int, out: Array | None = None) -> Array: ...
def maxout_backward(grad: Array, x: Array, pieces: int, out: Array | None = None) -> Array: ...
def softmax(x: Array, out: Array | None = None, *, axis: int = -1) -> Array: ...
def softmax_backward(grad: Array, y: Array, out: Array | None = None, *, axis: int = -1) -> Array: ...
def log_softmax(x: Array, out: Array | None = None, *, axis: int = -1) -> Array: ...
def log_softmax_backward(grad: Array, y: Array, out: Array | None = None, *, axis: int = -1) -> Array: ...

# --- losses -----------------------------------------------------------------------------------------------
# A loss's specification is its kind and its settings, which may be left out:
#   ("quadratic" | "sum_squared_residuals" | "mean_squared_error" | "binary_cross_entropy" | "hinge" | "l1", {})
#   ("huber", {"delta": float}), ("smooth_l1", {"beta": float}), ("quantile", {"quantile": one for each output, or one})
#   ("negative_log_likelihood", {"weight": one for each class, or none})
#   ("focal", {"alpha": float or None, "gamma": float}), ("poisson", {"log_input": bool, "eps": float})
#   ("binary_cross_entropy_with_logits", {"pos_weight": one for each output, or one})
#   ("softmax_cross_entropy", {"label_smoothing": float, "weight": one for each class, or none})
# target is dense, or int64 labels; weights are those of the samples. Values are means as the loss defines them.
def loss_value(
    loss: LossSpec, prediction: Array, target: Array | Labels, weights: Weights | None = None
) -> tuple[float, int]: ...  # mean, hits
def loss_gradient(
    loss: LossSpec, prediction: Array, target: Array | Labels, weights: Weights | None = None
) -> Array: ...
def check_targets(loss: LossSpec, target: Array | Labels, output_shape: Sequence[int], name: str) -> None: ...

# --- networks ---------------------------------------------------------------------------------------------
# A layer's specification is its kind and its fields, all given:
#   ("linear", {"in_features": int, "out_features": int, "bias": bool, "l1": float, "l2": float,
#              "max_norm": float})
#   ("conv1d" | "conv2d", {"in_channels", "out_channels", "kernel_size": (h, w), "stride": (h, w), "padding": (h, w),
#               "extra_padding": (h, w), "dilation": (h, w), "groups": int, "bias": bool, "l1", "l2", "max_norm"})
#   ("conv_transpose2d", {"in_channels", "out_channels", "kernel_size": (h, w), "stride": (h, w), "padding": (h, w),
#               "output_padding": (h, w), "dilation": (h, w), "groups": int, "bias": bool})
#   ("upsample", {"scale_factor": (h, w), "mode": "nearest" | "bilinear", "align_corners": bool})
#   ("max_pool1d" | "max_pool2d", {"kernel_size": (h, w), "stride": (h, w), "padding": (h, w), "ceil_mode": bool})
#   ("avg_pool1d" | "avg_pool2d", as for max_pool2d, and {"count_include_pad": bool})
#   ("adaptive_max_pool1d" | "adaptive_max_pool2d" | "adaptive_avg_pool1d" | "adaptive_avg_pool2d",
#    {"output_size": (h, w)})  # 0: as the input's
#   ("identity" | "add" | "concat" | "flatten" | "heaviside" | "sigmoid" | "tanh" | "relu" | "relu6" | "selu" |
#    "softplus" | "gelu" | "silu" | "mish" | "hardswish" | "softmax" | "log_softmax", {})
#   ("leaky_relu", {"negative_slope": float}), ("elu", {"alpha": float})
#   ("dropout" | "dropout1d" | "dropout2d", {"p": float})
#   ("unflatten", {"dim": int, "unflattened_size": tuple})
#   ("gaussian_noise", {"std": float}), ("random_shift", {"pixels": int}), ("random_rotation", {"degrees": float})
#   ("random_horizontal_flip", {"p": float}), ("random_crop", {"size": (h, w), "padding": (h, w)})
#   ("batch_norm1d" | "batch_norm2d", {"num_features": int, "eps": float, "momentum": float, "affine": bool})
#   ("layer_norm", {"normalized_shape": tuple, "eps": float, "elementwise_affine": bool}), ("global_avg_pool2d", {})
#   ("group_norm", {"num_groups": int, "num_channels": int, "eps": float, "affine": bool})
#   ("embedding", {"num_embeddings": int, "embedding_dim": int})
#   ("gru" | "lstm", {"input_size": int, "hidden_size": int, "num_layers": int, "bias": bool, "return_sequences": bool})
#   ("residual", {"layers": [...], "shortcut": [...]}), ("parallel", {"branches": [[...], ...]})
#   ("python", {"name": str, "parameters": [(name, shape), ...], "trains_itself": bool,
#     "output_shape": f(sample shape) -> shape,
#     "forward": f(array, shape of the result, values of the parameters, training, seed, stream) -> (array, kept),
#     "backward": f(array, shape of the result, kept) -> (array, gradients of the parameters)})
#   ("prelu", {"num_parameters": int}), ("rrelu", {"lower": float, "upper": float}), ("maxout", {"pieces": int})

def parameter_shapes(layers: Sequence[LayerSpec]) -> dict[str, tuple[int, ...]]: ...  # statistics included
def output_shape(layer: LayerSpec, inputs: Sequence[Sequence[int]]) -> tuple[int, ...]: ...  # of a sample

class Parameters:
    """Values and gradients of a network's layers, each one flat buffer that the named views look into."""

    # dtype: "float32" or "float64". wiring: the shapes of the inputs, and the sources of each layer and of the outputs,
    # which are positions of layers, and -1 - k for input k; None if each layer reads the one before.
    def __init__(
        self,
        layers: Sequence[LayerSpec],
        dtype: str,
        wiring: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]], Sequence[int]] | None = None,
    ) -> None: ...
    @property
    def names(self) -> list[str]: ...
    @property
    def frozen(self) -> list[str]: ...  # of both kinds, what training leaves as it is
    def freeze(self, names: Sequence[str], frozen: bool) -> None: ...  # a trainer sees what is so when it is made
    @property
    def statistics(self) -> list[str]: ...  # running means and variances: observed, not trained
    @property
    def flat_values(self) -> Array: ...
    @property
    def flat_gradients(self) -> Array: ...
    @property
    def flat_accumulated(self) -> Array: ...  # gradients that backward passes have added up
    def part(self, name: str, flat: Array) -> Array: ...  # a trained parameter's view of an array like flat_values
    def value(self, name: str) -> Array: ...
    def gradient(self, name: str) -> Array: ...
    def frozen_copy(self) -> Parameters: ...  # read-only views, no gradients; one for all predictors that freeze it
    def require_no_pass(self) -> None: ...  # RuntimeError in the middle of a pass of the calling thread
    # A pass of Python's own, before or behind those of other threads. Changing is refused as by require_no_pass.
    def reading(self) -> AbstractContextManager[None]: ...
    def changing(self) -> AbstractContextManager[None]: ...

class Optimizer:
    """An optimizer's state over one Parameters."""

    # rule: "sgd", "adam", "rmsprop", "adagrad"; settings: lr, momentum, nesterov, beta1, beta2, eps,
    # weight_decay, decoupled_decay, clip_norm, clip_value, ema_decay
    # groups: names of parameters, and the learning rate and weight decay that they have to themselves
    def __init__(
        self,
        parameters: Parameters,
        rule: str,
        settings: dict[str, Any],
        groups: Sequence[tuple[Sequence[str], float, float]] = [],
    ) -> None: ...
    @property
    def lr(self) -> float: ...
    def set_learning_rates(self, rates: float | Sequence[float]) -> None: ...  # with groups the rest's, then theirs
    missed_updates: dict[str, int]  # of each parameter that has missed some, while it was frozen
    @property
    def state(self) -> dict[str, Array]: ...  # named flat buffers, as views
    steps: int  # updates done so far
    def step(self) -> None: ...  # one update from the gradients that are there

def _set_disabled_passes(names: list[str]) -> None: ...  # for tests and measurements

class GradientAccumulation:
    """Gradients of several batches added up for one update, as if they were one batch."""

    def __init__(self, parameters: Parameters, batches_per_update: int) -> None: ...
    @property
    def batches(self) -> int: ...  # since the last update

class Trainer:
    """What trains a network on samples of one shape, in batches up to a capacity.

    Arrays must be C-contiguous, of the parameters' dtype, (n, *input_shape); samples may be uint8, too, which
    counts as fractions of 255.
    """

    def __init__(self, parameters: Parameters, input_shape: tuple[int, ...], capacity: int, seed: int) -> None: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def output_shape(self) -> tuple[int, ...]: ...
    @property
    def capacity(self) -> int: ...
    training_passes: int  # so far; they number the masks of the random layers
    def forward(self, x: Samples, training: bool) -> Array: ...
    def backward(self, grad: Array, need_grad_x: bool, adds: bool) -> Array | None:
        """Go back from the last forward; writes to ``flat_accumulated`` of the parameters, or adds there."""

    def step(self, optimizer: Optimizer) -> str:
        """Update from ``flat_accumulated``, which is 0 after it.

        Returns the name of a parameter whose gradient is not finite, with no value changed, or "".
        """

    def gradients(
        self,
        x: Samples,
        target: Any,
        loss: LossSpec | Callable[[Array, Labels], tuple[float, float, int, Array]],
        weights: Weights | None = None,
    ) -> tuple[float, int, Array]: ...  # the mean loss, the hits and the gradients like flat_gradients; a function for
    # the loss as in train_epoch
    def train_epoch(
        self,
        x: Samples,
        target: Any,
        order: Labels,
        batch_size: int,
        loss: LossSpec | Callable[[Array, Labels], tuple[float, float, int, Array]],
        optimizer: Optimizer,
        learning_rates: NDArray[np.float64] | None,
        on_nonfinite: str,
        report: Callable[[float, int, int, int], object] | None,
        weights: Weights | None = None,
        losses: NDArray[np.float64] | None = None,
        predictions: Array | None = None,
        errors: NDArray[np.float64] | None = None,
        accumulation: GradientAccumulation | None = None,
        data_parallel: DataParallel | None = None,
        bounds: Labels | None = None,
    ) -> tuple[float, int, int, int, str, float, float]:
        """One pass over the samples in that order.

        ``loss`` is a specification, and gets the target and the weights; or a function of predictions and the numbers
        of their samples that returns the sums of losses and of weights, the hits and the gradient of the mean: then the
        target is not looked at, and there may be no weights.
        With an ``accumulation``, an update is made whenever it has its batches. ``learning_rates``, if given, has for
        each update those that `set_learning_rates` takes; ``losses`` receives the mean of each batch. ``predictions``
        receives the outputs, batch after batch, NaN in batches left out. ``errors``, of shape (5, outputs), has a
        reference near the targets in its first row; added to the others are squared and absolute errors, targets less
        the reference, and the squares of these. ``on_nonfinite`` is "raise" (end), "warn" (leave the batch out) or
        "ignore". ``report(mean loss, hits, samples used, samples done)`` is called about every 100 ms. Whatever it
        raises, and KeyboardInterrupt at a signal, ends the pass after a whole batch and is raised from here. Returns
        the mean loss, the hits, the samples done, those of them in batches left out, where the first such batch went
        bad, or "", and the sum of losses and of weights that the mean is of.

        With ``data_parallel`` the order has the own samples alone, and ``bounds`` for each batch parts + 1 positions in
        it: where the own parts begin, and where the last one ends. What is returned is over all, but for where a batch
        went bad, which is what is known here. ``errors`` has 5 rows for each part.
        """

    def step_from(
        self,
        accumulation: GradientAccumulation,
        optimizer: Optimizer,
        learning_rates: float | Sequence[float],
        check: bool,
    ) -> bool:
        """Update from what there is, if there is anything; False if it is not finite, and ``check`` says to look."""

    def gather_state(self, optimizer: Optimizer, ranks: SharedRanks) -> None:
        """Have each rank send its share of the optimizer's state to all, after a training that failed on all."""

    def mean_loss(
        self, loss: LossSpec | Callable[[Array, Labels], tuple[float, float, int, Array]], sum: float, weight: float
    ) -> float: ...  # of several calls together
    def profile(
        self,
        x: Samples,
        target: Any,
        order: Labels,
        batch_size: int,
        loss: LossSpec,
        optimizer: Optimizer,
        seconds: float,
    ) -> tuple[list[tuple[str, str, float, float, float, int]], float, float, float, int, float]:
        """Train for so many seconds at least, and tell what took how long.

        Returns rows of path, name, flops of a sample's forward pass, forward seconds, backward seconds and samples;
        the seconds of gathering, loss and update; the samples and the seconds of all.
        """

class TrainStep:
    """One update from a batch, for one trainer, optimizer and loss."""

    def __init__(
        self,
        trainer: Trainer,
        optimizer: Optimizer,
        loss: LossSpec | Callable[[Array, Labels], tuple[float, float, int, Array]],
    ) -> None: ...
    def __call__(self, x: Any, target: Any, weights: Any, learning_rates: float | Sequence[float]) -> float | None:
        """Return the mean loss; None if the arrays must first be converted, or another thread runs this.

        Raises FloatingPointError, with nothing changed, if the loss or a gradient is not finite.
        """

class Messages:
    """Functions that reach the others of a training together, who make the same calls in order.

    ``gather`` gets numbers of this rank and returns those of all, a row each; ``reduce(first, count)`` begins to add up
    a range of ``flat_gradients`` over all, and ``wait()`` returns when all of them are done.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        gather: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        reduce: Callable[[int, int], None],
        wait: Callable[[], None],
    ) -> None: ...

class SharedRanks:
    """The ranks of a training together that share memory: a segment each, which all see, of at least `bytes`.

    Each has had its own prepared before any rank makes one of these.
    """

    def __init__(self, parameters: Parameters, rank: int, segments: Sequence[NDArray[np.uint8]]) -> None: ...
    @staticmethod
    def bytes(parameters: Parameters, rank: int) -> int: ...
    @staticmethod
    def prepare(segment: NDArray[np.uint8]) -> None: ...
    def leave(self) -> None:
        """Have those who wait for this rank raise a RuntimeError."""

    @property
    def seconds(self) -> float: ...  # spent with the others so far, also in waiting for them

class DataParallel:
    """How a training shares each batch with others: all train alike.

    ``parts`` of each batch are taken here, a power of two, and ``all_parts`` by all.
    """

    def __init__(self, parts: int, all_parts: int, sync_batch_norm: bool, ranks: Messages | SharedRanks) -> None: ...

class Predictor:
    """What predicts with a network on samples of one shape.

    Frozen, it has a copy of the weights (or shares a `frozen_copy`), made ready once, and any number of threads run it
    at once; else it sees each change of the weights. ``threads`` are those of a call at most; 0: `num_threads` at the
    time.
    """

    def __init__(
        self, parameters: Parameters, input_shape: tuple[int, ...], frozen: bool, threads: int = 0
    ) -> None: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def output_shape(self) -> tuple[int, ...]: ...
    @property
    def shapes(self) -> list[tuple[int, ...]]: ...  # of a sample, after each layer
    def predict(self, x: Samples, out: Array | None) -> Array: ...
    def predict_few(self, x: Any, out: Any) -> Array | None: ...  # None: take the usual way
    def evaluate(
        self,
        x: Samples,
        target: Array | Labels,
        loss: LossSpec,
        weights: Weights | None = None,
        predictions: Array | None = None,
        errors: NDArray[np.float64] | None = None,
    ) -> tuple[float, int, float, float]: ...  # the mean loss, the hits, the sum of losses and of weights
