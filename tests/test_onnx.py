"""ONNX files: what a network predicts is what ONNX Runtime computes, and what others write is read or refused."""

import glob
import importlib
import os
import re
import sys
import warnings

import numpy as np
import pytest
import ranvier as rv
import ranvier.onnx
from layer_cases import CASES, IMAGES, LAYERS, named

onnx = pytest.importorskip("onnx", reason="files of ONNX need it: pip install onnx==1.23.2")
onnxruntime = pytest.importorskip("onnxruntime", reason="files of ONNX are run by it: pip install onnxruntime==1.32.0")
writing = importlib.import_module("ranvier.onnx.writing")
operators = importlib.import_module("ranvier.onnx.operators")
helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto


def run(path, x):
    """What ONNX Runtime makes of a batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def started(net, seed=1):
    """The network with running statistics and parameters that are not at their start."""
    rng = np.random.default_rng(seed)
    net.load_state_dict({name: rng.uniform(0.5, 1.5, value.shape) for name, value in net.state_dict().items()})
    return net


# --- files of networks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_each_layer_is_written_or_refused(layer):
    assert (layer in writing.WRITTEN) + (layer in writing.REFUSED) + (layer is rv.CustomLayer) == 1


# Layers that a file has in other words.
OTHERS = {
    rv.AdaptiveAvgPool1d(5): None,
    rv.AdaptiveAvgPool2d((4, None)): rv.AvgPool2d((3, 1)),
    rv.AdaptiveAvgPool2d(5): None,
    rv.AdaptiveMaxPool1d(4): rv.MaxPool1d(3),
    rv.AdaptiveMaxPool2d((5, 7)): None,
    rv.AvgPool2d(3, 2, 1, ceil_mode=True): None,
    rv.Conv2d(3, 4, 3, padding="valid"): rv.Conv2d(3, 4, 3),
    rv.GRU(12, 4, num_layers=2, bias=False): (rv.GRU(12, 4, 1, False, True), rv.GRU(4, 4, 1, False)),
    rv.LSTM(12, 4, num_layers=2): (rv.LSTM(12, 4, return_sequences=True), rv.LSTM(4, 4)),
    rv.Unflatten(1, (4, -1)): rv.Unflatten(1, (4, 3)),
    rv.LayerNorm(5, elementwise_affine=False): rv.LayerNorm(5),
    rv.BatchNorm1d(5, eps=1e-3, affine=False): rv.BatchNorm1d(5, eps=1e-3),
    rv.RReLU(0.1, 0.3): rv.LeakyReLU(0.2),
    rv.Standardize(3): rv.BatchNorm2d(3, eps=1e-30),
    rv.Standardize(5): rv.BatchNorm1d(5, eps=1e-30),
    rv.Upsample((0.7, 1.3), "bilinear", align_corners=True): None,
}
LEFT_OUT = (rv.Dropout, rv.Dropout1d, rv.Dropout2d, rv.GaussianNoise, rv.Identity)
LEFT_OUT += (rv.RandomHorizontalFlip, rv.RandomRotation, rv.RandomShift, rv.RandomCrop)


@pytest.mark.parametrize(("layer", "shape"), [c for c in CASES if type(c[0]) not in writing.REFUSED], ids=named)
def test_each_layer_agrees_with_onnx_runtime_and_comes_back(tmp_path, layer, shape):
    path = tmp_path / "layer.onnx"
    net = started(rv.Network([layer], seed=0))
    ranvier.onnx.export(net, path, shape)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    for n in (1, 7):
        x = np.random.default_rng(2).standard_normal((n, *shape)).astype(np.float32)
        if isinstance(layer, rv.Embedding):
            x = np.abs(x * 5).astype(np.int64)
        np.testing.assert_allclose(net.predict(x), run(path, x), rtol=1e-5, atol=1e-5)
    if isinstance(layer, LEFT_OUT) or OTHERS.get(layer, layer) is None:
        return
    back = ranvier.onnx.load(path)
    expected = OTHERS.get(layer, layer)
    assert back.layers == (expected if isinstance(expected, tuple) else (expected,))
    assert back.input_shape == shape
    np.testing.assert_allclose(back.predict(x), net.predict(x), rtol=1e-6, atol=1e-6)


def whole(dtype="float32"):
    path = [rv.Conv2d(8, 8, 3, padding=1, bias=False), rv.BatchNorm2d(8), rv.RandomShift(1), rv.ReLU()]
    return rv.Network(
        [
            rv.RandomCrop(12, 2),
            rv.Conv2d(3, 8, (3, 1), stride=(1, 2), padding=(1, 0)),
            rv.BatchNorm2d(8, momentum=0.25, eps=1e-3),
            rv.Residual(path),
            rv.ReLU(),
            rv.Residual([rv.Residual(path[:2]), rv.GELU()], [rv.Conv2d(8, 8, 1)]),
            rv.Parallel([[rv.Conv2d(8, 2, 1), rv.Tanh()], [], [rv.Parallel([[], []]), rv.Maxout(2)]]),
            rv.MaxPool2d(2),
            rv.GlobalAvgPool2d(),
            rv.Linear(18, 8),
            rv.Dropout(0.2),
            rv.PReLU(),
            rv.LayerNorm(8),
            rv.Linear(8, 3, bias=False),
            rv.LogSoftmax(),
        ],
        seed=0,
        dtype=dtype,
    )


def test_a_whole_network_goes_and_comes_back(tmp_path):
    net = whole()
    x = np.random.default_rng(1).standard_normal((20, *IMAGES)).astype(np.float32)
    net.fit(x, np.arange(20) % 3, progress=False)
    net.metadata = {"author": "me"}
    ranvier.onnx.export(net, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    np.testing.assert_allclose(net.predict(x), run(tmp_path / "net.onnx", x), rtol=1e-5, atol=1e-5)
    back = ranvier.onnx.load(tmp_path / "net.onnx", seed=4)
    assert (back.seed, back.metadata, back.input_shape) == (4, {"author": "me"}, IMAGES)
    assert not back.frozen
    np.testing.assert_allclose(back.predict(x), net.predict(x), rtol=1e-5, atol=1e-5)
    for value, other in zip(back.state_dict().values(), net.state_dict().values(), strict=True):
        np.testing.assert_array_equal(value, other)
    back.fit(x, np.arange(20) % 3, loss=rv.CrossEntropyLoss(), progress=False)


def test_networks_of_float64(tmp_path):
    net = started(rv.Network([rv.Linear(4, 3), rv.ReLU(), rv.Linear(3, 2)], seed=0, dtype="float64"))
    ranvier.onnx.export(net, tmp_path / "net.onnx", (4,))
    x = np.random.default_rng(0).standard_normal((5, 4))
    np.testing.assert_allclose(run(tmp_path / "net.onnx", x), net.predict(x), rtol=1e-13)
    back = ranvier.onnx.load(tmp_path / "net.onnx")
    assert back.dtype == np.float64
    np.testing.assert_array_equal(back.predict(x), net.predict(x))


@pytest.mark.parametrize("before", [[rv.Dropout(0.5)], []], ids=str)
def test_indices_behind_other_layers(tmp_path, before):
    layers = [*before, rv.Parallel([[rv.Embedding(20, 3)], [rv.Embedding(20, 3), rv.Tanh()]])]
    net = rv.Network(layers, seed=0)
    ranvier.onnx.export(net, tmp_path / "net.onnx", (4,))
    x = np.arange(20, dtype=np.float32).reshape(5, 4)
    np.testing.assert_allclose(run(tmp_path / "net.onnx", x), net.predict(x), rtol=1e-6)


# --- networks of any wiring -----------------------------------------------------------------------------------------


def run_all(path, arrays):
    """What ONNX Runtime makes of named arrays, by the names of the outputs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, arrays), strict=True))


def of_two_inputs():
    """Two inputs and three outputs: values that several read, indices, a sum of three, a layer twice."""
    image, words = rv.Input((2, 6, 6)), rv.Input((5,))
    trunk = rv.BatchNorm2d(4)(rv.Conv2d(2, 4, 3, padding="same", bias=False)(image))
    act = rv.GELU()
    left = rv.GlobalAvgPool2d()(act(trunk))
    right = rv.Linear(4, 4)(left)
    text = rv.GRU(3, 4)(rv.Embedding(20, 3)(words))
    total = rv.Add()([left, right, text])
    joined = rv.Concat()([total, act(right), left, total])
    outputs = {"one": rv.Linear(16, 3)(joined), "half": rv.Sigmoid()(rv.Linear(4, 2)(right)), "trunk": trunk}
    return rv.Network(inputs={"zero": image, "words": words}, outputs=outputs, seed=0)


def samples_of_two_inputs(n):
    rng = np.random.default_rng(3)
    return {"zero": rng.standard_normal((n, 2, 6, 6)).astype(np.float32), "words": rng.integers(0, 20, (n, 5))}


def test_a_network_of_any_wiring_goes_and_comes_back(tmp_path):
    net, path = started(of_two_inputs()), tmp_path / "net.onnx"
    net.metadata = {"author": "me"}
    ranvier.onnx.export(net, path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["zero", "words"]
    assert [value.type.tensor_type.elem_type for value in model.graph.input] == [TensorProto.FLOAT, TensorProto.INT64]
    assert all(
        value.type.tensor_type.shape.dim[0].dim_param == "batch" for value in [*model.graph.input, *model.graph.output]
    )
    back = ranvier.onnx.load(path, seed=4)
    assert (back.seed, back.metadata, back.frozen) == (4, {"author": "me"}, [])
    for n in (1, 7):
        x = samples_of_two_inputs(n)
        expected, theirs, again = net.predict(x), run_all(path, x), back.predict(x)
        assert set(theirs) == set(again) == {"one", "half", "trunk"}
        for name, array in expected.items():
            np.testing.assert_allclose(theirs[name], array, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(again[name], array, rtol=1e-5, atol=1e-6)
    assert ranvier.onnx.load(path, output="half").predict(x["zero"]).shape == (7, 2)
    loss = {"one": rv.CrossEntropyLoss(), "half": rv.MSELoss(), "trunk": rv.MSELoss()}
    back.fit(x, {**expected, "one": np.arange(7) % 3}, loss=loss, progress=False)


def test_one_input_and_output_that_are_not_nested(tmp_path):
    x = rv.Input((4,))
    a = rv.ReLU()(rv.Linear(4, 4)(x))
    b = rv.Linear(4, 4)(a)
    net = rv.Network(inputs=x, outputs=rv.Concat()([rv.Add()([x, a]), rv.Add()([a, b]), rv.Add()([x, b])]), seed=0)
    ranvier.onnx.export(net, tmp_path / "net.onnx")
    samples = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path / "net.onnx", samples), net.predict(samples), rtol=1e-5, atol=1e-6)
    back = ranvier.onnx.load(tmp_path / "net.onnx")
    assert back.layers == net.layers
    np.testing.assert_array_equal(back.predict(samples), net.predict(samples))


def test_a_node_in_two_branches(tmp_path):
    """Of a file by others, which no layers with branches stand for."""
    nodes = [
        ("MatMul", "xw", "a", {}), ("Relu", "a", "b", {}), ("MatMul", "bw", "c", {}), ("Add", "xb", "d", {}),
        ("Add", "cd", "y", {}),
    ]  # fmt: skip
    net = same(saved(tmp_path, model_of(nodes, {"w": SQUARE}, ("batch", 4))), (4,))
    assert [type(layer) for layer in net.layers].count(rv.Add) == 2


def test_shapes_of_inputs_must_be_known(tmp_path):
    nodes = [("Relu", "x", "y", {}), ("Tanh", "y", "z", {})]
    path = saved(tmp_path, model_of(nodes, shape=("batch", "features"), outputs=("y", "z")))
    with pytest.raises(ValueError, match=r"input 'x': expected samples of a shape that is known, got \(None,\)"):
        ranvier.onnx.load(path)


def test_names_that_python_has_not(tmp_path):
    nodes = [("Relu", ["input.1"], "5", {}), ("Tanh", ["5"], "onnx::6", {})]
    model = model_of(nodes, outputs=("5", "onnx::6"))
    model.graph.input[0].name = "input.1"
    net = ranvier.onnx.load(saved(tmp_path, model))
    assert list(net.predict(np.ones((1, 4)))) == ["_5", "onnx__6"]
    nodes = [("Relu", "x", "a.b", {}), ("Tanh", "x", "a:b", {})]
    with pytest.raises(ValueError, match="outputs: expected names that differ in letters and digits"):
        ranvier.onnx.load(saved(tmp_path, model_of(nodes, outputs=("a.b", "a:b"))))


def test_products_of_two_inputs_are_refused(tmp_path):
    nodes = [("Relu", "x", "a", {}), ("Tanh", "z", "b", {}), ("Mul", "ab", "y", {})]
    model = model_of(nodes)
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 4]))
    with pytest.raises(ValueError, match=r"node 'n_y' \(Mul\): .*different origins"):
        ranvier.onnx.load(saved(tmp_path, model))


def test_a_layer_that_was_not_adapted(tmp_path):
    """Its standard deviations are 0: whoever runs the file would get numbers that are none."""
    with pytest.raises(RuntimeError, match=r"layer 0 \(Standardize\): expected the mean and std"):
        ranvier.onnx.export(rv.Network([rv.Standardize(3)]), tmp_path / "net.onnx", (3,))
    assert not (tmp_path / "net.onnx").exists()


def test_wirings_that_a_file_cannot_hold(tmp_path):
    x = rv.Input((4,))
    net = rv.Network(inputs={"x": x}, outputs={"x": rv.ReLU()(x), "y": rv.Tanh()(x)})
    with pytest.raises(ValueError, match=r"inputs and outputs of different names, .* got 'x' twice"):
        ranvier.onnx.export(net, tmp_path / "net.onnx")
    with pytest.raises(TypeError, match="input_shape: expected None"):
        ranvier.onnx.export(net, tmp_path / "net.onnx", (4,))
    net = rv.Network(inputs=x, outputs=rv.Tanh()(Standing()(x)))
    with pytest.raises(ValueError, match=r"layer 0 \(Standing\): a layer of your own"):
        ranvier.onnx.export(net, tmp_path / "net.onnx")


class Standing(rv.CustomLayer):
    def forward(self, x, ctx):
        return x

    def backward(self, grad, ctx):
        return grad


class Own:
    def forward(self, x):
        return x

    def backward(self, grad):
        return grad


def test_what_cannot_be_exported_says_why(tmp_path):
    path = tmp_path / "net.onnx"
    with pytest.raises(TypeError, match="expected a Network, got list"):
        ranvier.onnx.export([rv.ReLU()], path)
    with pytest.raises(ValueError, match="input_shape: expected the shape of a sample"):
        ranvier.onnx.export(rv.Network([rv.ReLU()]), path)
    with pytest.raises(ValueError, match=r"layer 0\.layers\.1 \(Own\): a layer of your own"):
        ranvier.onnx.export(rv.Network([rv.Residual([rv.ReLU(), Own()])]), path, (3,))
    with pytest.raises(ValueError, match="Linear"):
        ranvier.onnx.export(rv.Network([rv.Linear(3, 2)]), path, (4,))
    assert not path.exists()
    with pytest.raises(OSError, match="no folder"):
        ranvier.onnx.export(rv.Network([3, 2]), tmp_path / "nowhere" / "net.onnx")


def test_without_onnx_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for call in (lambda: ranvier.onnx.load("a"), lambda: ranvier.onnx.export(rv.Network([2, 3]), "a")):
        with pytest.raises(ImportError, match=r"pip install 'ranvier\[onnx\]'"):
            call()


# --- ONNX's own test cases ----------------------------------------------------------------------------------------

# The files with the node tests of operators that layers stand for.
NODE_TESTS = """
    add averagepool batch_normalization clip concat conv convtranspose div dropout elu erf flatten gelu gemm
    gather globalaveragepool globalmaxpool greater groupnormalization gru identity instance_normalization
    layernormalization leakyrelu logsoftmax lstm matmul maxpool mul neg pad prelu reducemax reducemean relu reshape
    resize sigmoid softmax softplus squeeze sub sum tanh transpose unsqueeze
"""
# Those of them that are read, all others being refused.
PASSED = """
    averagepool_1d_default averagepool_2d_ceil averagepool_2d_ceil_last_window_starts_on_pad
    averagepool_2d_default averagepool_2d_precomputed_pads averagepool_2d_precomputed_pads_count_include_pad
    averagepool_2d_precomputed_same_upper averagepool_2d_precomputed_strides averagepool_2d_strides
    basic_conv_with_padding basic_conv_without_padding batchnorm_epsilon batchnorm_example
    conv_with_autopad_same conv_with_strides_and_asymmetric_padding conv_with_strides_no_padding
    conv_with_strides_padding convtranspose convtranspose_dilations convtranspose_group_2
    convtranspose_group_2_image_3 convtranspose_pad convtranspose_pads dropout_default dropout_default_mask
    dropout_default_old dropout_random_old elu elu_default elu_example flatten_axis1 flatten_default_axis
    flatten_negative_axis3 gelu_default_1 gelu_default_2 gemm_alpha gemm_beta gemm_default_no_bias
    gemm_default_scalar_bias gemm_default_single_elem_vector_bias gemm_default_vector_bias
    gemm_default_zero_bias gemm_transposeB globalaveragepool globalaveragepool_precomputed globalmaxpool
    globalmaxpool_precomputed group_normalization_epsilon group_normalization_example instancenorm_epsilon
    instancenorm_example layer_normalization_2d_axis1 layer_normalization_2d_axis_negative_1
    layer_normalization_3d_axis1_epsilon layer_normalization_3d_axis2_epsilon
    layer_normalization_3d_axis_negative_1_epsilon layer_normalization_3d_axis_negative_2_epsilon
    layer_normalization_4d_axis1 layer_normalization_4d_axis2 layer_normalization_4d_axis3
    layer_normalization_4d_axis_negative_1 layer_normalization_4d_axis_negative_2
    layer_normalization_4d_axis_negative_3 layer_normalization_default_axis leakyrelu leakyrelu_default
    leakyrelu_example logsoftmax_axis_1 logsoftmax_example_1 logsoftmax_large_number lstm_batchwise matmul_2d
    maxpool_1d_default maxpool_2d_ceil maxpool_2d_ceil_output_size_reduce_by_one maxpool_2d_default
    maxpool_2d_precomputed_pads maxpool_2d_precomputed_same_upper maxpool_2d_precomputed_strides
    maxpool_2d_strides maxpool_with_argmax_2d_precomputed_pads maxpool_with_argmax_2d_precomputed_strides neg relu
    reshape_extended_dims reshape_reduced_dims reshape_zero_and_negative_dim reshape_zero_dim
    resize_downsample_scales_linear resize_upsample_scales_linear resize_upsample_scales_linear_align_corners
    sigmoid sigmoid_example softmax_axis_1 softmax_example softmax_large_number softplus softplus_example
    squeeze_negative_axes tanh tanh_example unsqueeze_axis_1 unsqueeze_axis_2 unsqueeze_negative_axes
    unsqueeze_three_axes unsqueeze_two_axes unsqueeze_unsorted_axes
"""

# Those of several inputs.
OF_SEVERAL = """
    add concat_2d_axis_1 concat_2d_axis_negative_1 concat_3d_axis_1 concat_3d_axis_negative_2 sum_example sum_two_inputs
"""

# The files in the wheel that are read.
FILES = """
    AvgPool1d AvgPool1d_stride AvgPool2d AvgPool2d_stride BatchNorm1d_3d_input_eval BatchNorm2d_eval
    BatchNorm2d_momentum_eval Conv1d Conv1d_dilated Conv1d_groups Conv1d_pad1 Conv1d_pad1size1 Conv1d_pad2
    Conv1d_pad2size1 Conv1d_stride Conv2d Conv2d_depthwise Conv2d_depthwise_padded Conv2d_depthwise_strided
    Conv2d_depthwise_with_multiplier Conv2d_dilated Conv2d_groups Conv2d_groups_thnn Conv2d_no_bias Conv2d_padding
    Conv2d_strided ConvTranspose2d ConvTranspose2d_no_bias ELU Embedding Embedding_sparse LeakyReLU
    LeakyReLU_with_negval Linear Linear_no_bias LogSoftmax MaxPool1d MaxPool1d_stride MaxPool2d PReLU_1d
    PReLU_1d_multiparam PReLU_2d PReLU_2d_multiparam PReLU_3d PReLU_3d_multiparam ReLU SELU Sigmoid Softmax
    Softmin Softplus Tanh log_softmax_lastdim operator_addconstant operator_concat2 operator_conv operator_convtranspose
    operator_flatten operator_maxpool operator_selu operator_symbolic_override operator_view softmax_lastdim
"""


def is_read(path, arrays, expected, output):
    """Whether a file is read; then it must agree."""
    try:
        net = ranvier.onnx.load(path, output=output)
    except ValueError as error:
        assert "can be read: " in str(error)  # noqa: PT017
        return False
    wiring = net.engine.wiring
    names = [None] if wiring is None else wiring.inputs.names
    x = arrays[0] if len(names) == 1 else dict(zip(names, arrays, strict=True))
    np.testing.assert_allclose(net.predict(x), expected, rtol=1e-3, atol=1e-5, err_msg=os.fspath(path))
    return True


def test_node_tests_of_onnx(tmp_path):
    """Inputs but the first are constants here, as weights are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in NODE_TESTS.split():
            importlib.import_module(f"onnx.backend.test.case.node.{name}")
    cases = importlib.import_module("onnx.backend.test.case.node")._NodeTestCases
    read = set()
    for case in cases:
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        if not {node.op_type for node in model.graph.node} & set(operators.OPERATORS):
            continue
        inputs, outputs = case.data_sets[0]
        if not all(isinstance(value, np.ndarray) for value in inputs):
            continue
        for value, array in zip(model.graph.input[1:], inputs[1:], strict=True):
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        path = tmp_path / f"{case.name}.onnx"
        path.write_bytes(model.SerializeToString())
        if is_read(path, inputs[:1], outputs[0], model.graph.output[0].name):
            read.add(case.name.removeprefix("test_"))
    print(f"{len(read)} node tests of ONNX")
    assert read == set(PASSED.split())


def test_node_tests_of_several_inputs(tmp_path):
    """Those of sums and concatenations, whose inputs are inputs."""
    for name in ("add", "concat", "sum"):
        importlib.import_module(f"onnx.backend.test.case.node.{name}")
    cases = importlib.import_module("onnx.backend.test.case.node")._NodeTestCases
    read = set()
    for case in cases:
        inputs, outputs = case.data_sets[0]
        if {node.op_type for node in case.model.graph.node} <= {"Add", "Concat", "Sum"} and len(inputs) > 1:
            path = tmp_path / f"{case.name}.onnx"
            path.write_bytes(case.model.SerializeToString())
            if is_read(path, inputs, outputs[0], None):
                read.add(case.name.removeprefix("test_"))
    print(f"{len(read)} node tests of several inputs")
    assert read == set(OF_SEVERAL.split())


def test_files_in_the_wheel_of_onnx():
    """Those that PyTorch wrote, long ago."""
    data = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
    read = set()
    for folder in sorted(glob.glob(f"{data}/pytorch-*/test_*")):
        x, y = (
            [numpy_helper.to_array(onnx.load_tensor(path)) for path in sorted(glob.glob(f"{folder}/*_0/{name}_*.pb"))]
            for name in ("input", "output")
        )
        if is_read(f"{folder}/model.onnx", x, y[0], None):
            read.add(os.path.basename(folder).removeprefix("test_"))
    print(f"{len(read)} files of the wheel")
    assert read == set(FILES.split())


# --- what others write --------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # PyTorch's, of kernels of even size
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("kind", ["images", "lines", "sequences", "vectors"])
def test_files_of_torch(tmp_path, kind, dynamo):
    torch = pytest.importorskip("torch", reason="this test needs torch: pip install torch==2.13.0")
    if dynamo:
        pytest.importorskip("onnxscript", reason="PyTorch writes files by it: pip install onnxscript==0.7.2")
    nn = torch.nn
    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.path = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 1))

        def forward(self, x):
            return torch.relu(self.path(x) + x)

    class Images(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(), Block())
            self.side = nn.Conv2d(6, 4, 1)
            self.head = nn.Linear(6 + 4, 5)

        def forward(self, x):
            x = self.body((x - 0.5) / 0.25)
            x = torch.cat([nn.functional.max_pool2d(x, 2), nn.functional.avg_pool2d(self.side(x), 2)], 1)
            return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))

    vectors = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 8), nn.GELU(), nn.LayerNorm(8), nn.Dropout(0.1), nn.Linear(8, 6, bias=False),
        nn.LeakyReLU(0.2), nn.PReLU(), nn.Linear(6, 4), nn.ELU(0.5), nn.Softplus(), nn.Tanh(), nn.LogSoftmax(-1),
    )  # fmt: skip
    lines = nn.Sequential(
        nn.Conv1d(3, 6, 4, padding="same"), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(3, 2, 1, ceil_mode=True),
        nn.AvgPool1d(2), nn.GroupNorm(3, 6), nn.Conv1d(6, 6, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 5),
    )  # fmt: skip

    class Sequences(nn.Module):
        def __init__(self, last_of_outputs):
            super().__init__()
            self.gru = nn.GRU(3, 4, 2, batch_first=True)
            self.lstm = nn.LSTM(4, 5, batch_first=True)
            self.head = nn.Linear(5, 2)
            self.last_of_outputs = last_of_outputs

        def forward(self, x):
            outputs, (states, _) = self.lstm(self.gru(x)[0])
            return self.head(outputs[:, -1] if self.last_of_outputs else states[-1])

    kinds = {
        "images": (Images(), IMAGES),
        "lines": (lines, (3, 21)),
        "sequences": (Sequences(dynamo), (6, 3)),
        "vectors": (vectors, (3, 4)),
    }
    module, shape = kinds[kind]
    module(torch.randn(8, *shape))
    module.eval()
    path = tmp_path / "net.onnx"
    batch = {0: torch.export.Dim("batch")} if dynamo else {0: "batch"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.randn(2, *shape),),
            os.fspath(path),
            dynamo=dynamo,
            **({"dynamic_shapes": (batch,), "verbose": False} if dynamo else {"dynamic_axes": {"x": batch}}),
            input_names=["x"],
        )
    net = ranvier.onnx.load(path)
    x = np.random.default_rng(0).standard_normal((7, *shape)).astype(np.float32)
    np.testing.assert_allclose(net.predict(x), run(path, x), rtol=1e-5, atol=1e-5)
    assert net.input_shape == shape
    if kind == "images":
        assert net.frozen  # the constants
        assert any(isinstance(layer, rv.Residual) for layer in net.layers)


@pytest.mark.parametrize(
    ("op", "attributes", "inputs", "reason"),
    [
        ("GRU", {"direction": "reverse"}, [], "expected direction='forward', got 'reverse'"),
        ("GRU", {"linear_before_reset": 0}, [], "expected linear_before_reset=1"),
        ("GRU", {"layout": 0}, [], "expected sequences whose axes of batch and time a Transpose has exchanged"),
        ("GRU", {"hidden_size": 5}, [], "W: expected hidden_size rows a gate, got 4"),
        ("GRU", {"activations": ["Tanh", "Tanh"]}, [], "expected the functions ['Sigmoid', 'Tanh']"),
        ("GRU", {}, ["", "ones"], "expected sequences of one length"),
        ("LSTM", {}, ["", "", "ones"], "expected states that begin with 0"),
        ("LSTM", {}, ["", "", "", "ones"], "expected states that begin with 0"),
        ("LSTM", {}, ["", "", "", "", "ones"], "expected no peepholes"),
        ("LSTM", {"clip": 1.0}, [], "without 'clip'"),
        ("LSTM", {"input_forget": 1}, [], "expected input_forget=0"),
    ],
)
def test_recurrent_nodes_of_another_kind_are_refused(tmp_path, op, attributes, inputs, reason):
    rows = 4 * (3 if op == "GRU" else 4)
    arrays = {"W": np.ones((1, rows, 3)), "R": np.ones((1, rows, 4)), "ones": np.ones((1, 1, 4))}
    plain = {"hidden_size": 4, "layout": 1} | ({"linear_before_reset": 1} if op == "GRU" else {})
    path = tmp_path / "net.onnx"

    def save(node):
        value = helper.make_tensor_value_info
        ends = [value("x", TensorProto.FLOAT, ["n", 5, 3])], [value("y", TensorProto.FLOAT, None)]
        tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
        model = helper.make_model(helper.make_graph([node], "g", *ends, tensors))
        onnx.save(model, path)

    save(helper.make_node(op, ["x", "W", "R"], ["y"], **plain))
    assert isinstance(ranvier.onnx.load(path).layers[0], rv.GRU if op == "GRU" else rv.LSTM)
    save(helper.make_node(op, ["x", "W", "R", *inputs], ["y"], name="cell", **plain | attributes))
    with pytest.raises(ValueError, match=rf"node 'cell' \({op}\): .*{re.escape(reason)}"):
        ranvier.onnx.load(path)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_files_of_skl2onnx(tmp_path, classes):
    skl2onnx = pytest.importorskip("skl2onnx", reason="this test needs it: pip install skl2onnx==1.20.0")
    neural_network = importlib.import_module("sklearn.neural_network")
    x = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if classes:
            model = neural_network.MLPClassifier((5,), max_iter=3).fit(x, np.arange(60) % classes)
            options, wanted = {"zipmap": False}, "probabilities"
        else:
            model = neural_network.MLPRegressor(hidden_layer_sizes=(5, 4), activation="tanh", max_iter=3).fit(
                x, x[:, 0]
            )
            options, wanted = None, None
        proto = skl2onnx.to_onnx(model, x[:1], options=options)
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    net = ranvier.onnx.load(path)
    expected = model.predict_proba(x) if classes else model.predict(x)[:, None]
    np.testing.assert_allclose(net.predict(x), expected, atol=1e-5)
    if wanted:
        np.testing.assert_array_equal(ranvier.onnx.load(path, output=wanted).predict(x), net.predict(x))
        with pytest.raises(ValueError, match=r"node '.*' \(Cast|Reshape|ArrayFeatureExtractor\)"):
            ranvier.onnx.load(path, output="label")
        proto = skl2onnx.to_onnx(model, x[:1])
        path.write_bytes(proto.SerializeToString())
        with pytest.raises(ValueError, match="zipmap"):
            ranvier.onnx.load(path)


@pytest.mark.parametrize("scaler", ["StandardScaler", "MinMaxScaler"])
def test_pipelines_of_skl2onnx_with_a_scaler(tmp_path, scaler):
    skl2onnx = pytest.importorskip("skl2onnx", reason="this test needs it: pip install skl2onnx==1.20.0")
    from sklearn import neural_network, pipeline, preprocessing

    x = np.random.default_rng(0).normal(5, 3, (60, 4)).astype(np.float32)
    mlp = neural_network.MLPRegressor(hidden_layer_sizes=(5,), max_iter=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = pipeline.make_pipeline(getattr(preprocessing, scaler)(), mlp).fit(x, x[:, 0])
        proto = skl2onnx.to_onnx(model, x[:1])
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    net = ranvier.onnx.load(path)
    np.testing.assert_allclose(net.predict(x), model.predict(x)[:, None], atol=1e-5)
    assert sorted(net.frozen) == sorted(name for name in net.state_dict() if name.startswith("0."))


# --- graphs -------------------------------------------------------------------------------------------------------


def model_of(nodes, constants=None, shape=("batch", 4), outputs=("y",), opset=17, dtype=TensorProto.FLOAT):
    """A model of nodes, each (operator, inputs, output or outputs, attributes)."""
    made = [
        helper.make_node(op, list(inputs), [out] if isinstance(out, str) else list(out), name=f"n_{out}", **attributes)
        for op, inputs, out, attributes in nodes
    ]
    tensors = [
        numpy_helper.from_array(np.asarray(value, None if np.asarray(value).dtype.kind == "i" else np.float32), name)
        for name, value in (constants or {}).items()
    ]
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def saved(tmp_path, model):
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def same(path, shape, n=3):
    net = ranvier.onnx.load(path)
    x = np.random.default_rng(0).standard_normal((n, *shape)).astype(np.float32)
    np.testing.assert_allclose(net.predict(x), run(path, x), rtol=1e-5, atol=1e-5)
    return net


RNG = np.random.default_rng(0)
SQUARE = RNG.standard_normal((4, 4))
COLUMN = RNG.standard_normal((5, 1, 1))

GRAPHS = {
    "a product and a sum": (
        [("MatMul", "xw", "a", {}), ("Add", "ba", "y", {})], {"w": SQUARE, "b": SQUARE[0]}, (4,),
        [rv.Linear(4, 4)],
    ),
    "a product of sequences": (
        [("MatMul", "xw", "a", {}), ("Add", "ab", "y", {})], {"w": SQUARE, "b": SQUARE[0]}, (3, 4),
        [rv.Linear(4, 4)],
    ),
    "a general product": (
        [("Gemm", "xwb", "y", {"alpha": 0.5, "beta": 2.0, "transB": 1})], {"w": SQUARE, "b": SQUARE[:1]}, (4,),
        [rv.Linear(4, 4)],
    ),
    "constants around": (
        [
            ("Sub", "xm", "a", {}), ("Div", "as", "b", {}), ("Mul", "bm", "c", {}),
            ("Relu", "c", "d", {}), ("Sub", "ed", "f", {}), ("Neg", "f", "y", {}),
        ],
        {"m": COLUMN, "s": COLUMN + 9, "e": 2.0}, (5, 4, 4),
        [rv.BatchNorm2d(5, eps=1e-30), rv.ReLU(), rv.BatchNorm2d(5, eps=1e-30)],
    ),
    "a bias for channels": (
        [("Conv", "xw", "a", {}), ("Add", "ab", "y", {})], {"w": RNG.standard_normal((5, 5, 2, 2)), "b": COLUMN},
        (5, 4, 4), [rv.Conv2d(5, 5, 2)],
    ),
    "padding before a convolution": (
        [("Pad", "xp", "a", {}), ("Conv", "aw", "y", {"pads": [1, 0, 1, 0]})],
        {"p": np.array([0, 0, 1, 2, 0, 0, 1, 2]), "w": RNG.standard_normal((5, 5, 3, 3))}, (5, 4, 4),
        [rv.Conv2d(5, 5, 3, padding=2, bias=False)],
    ),
    "padding before a mean": (
        [("Pad", "xp", "a", {}), ("AveragePool", "a", "y", {"kernel_shape": [2, 2]})],
        {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, (5, 4, 4), [rv.AvgPool2d(2, 1, 1)],
    ),
    "means of channels": ([("ReduceMean", "x", "y", {"axes": [-1, 2], "keepdims": 0})], {}, (5, 4, 4),
        [rv.GlobalAvgPool2d()],
    ),
    "means of channels that are squeezed": (
        [("GlobalAveragePool", "x", "a", {}), ("Squeeze", "ai", "y", {})], {"i": np.array([2, 3])}, (5, 4, 4),
        [rv.GlobalAvgPool2d()],
    ),
    "means of channels that keep their axes": ([("GlobalAveragePool", "x", "y", {})], {}, (5, 4, 3),
        [rv.AdaptiveAvgPool2d(1)],
    ),
    "means of lines": ([("ReduceMean", "x", "y", {"axes": [-1], "keepdims": 0})], {}, (5, 4),
        [rv.AdaptiveAvgPool1d(1), rv.Flatten()],
    ),
    "maxima of channels": ([("ReduceMax", "x", "y", {"axes": [2, 3], "keepdims": 0})], {}, (5, 4, 4),
        [rv.AdaptiveMaxPool2d(1), rv.Flatten()],
    ),
    "lines as images": (
        [
            ("Unsqueeze", "xi", "a", {}), ("MaxPool", "a", "b", {"kernel_shape": [1, 2]}), ("Squeeze", "bi", "c", {}),
            ("Flatten", "c", "y", {}),
        ],
        {"i": np.array([-2])}, (5, 4), [rv.Unflatten(1, (5, 1)), rv.MaxPool2d((1, 2), 1), rv.Flatten()],
    ),
    "a bias for channels of lines": (
        [("Conv", "xw", "a", {}), ("Add", "ab", "c", {}), ("Mul", "cb", "y", {})],
        {"w": RNG.standard_normal((5, 5, 2)), "b": COLUMN[:, 0]}, (5, 4),
        [rv.Conv1d(5, 5, 2), rv.BatchNorm1d(5, eps=1e-30)],
    ),
    "padding for the same size": (
        [("Pad", "xp", "a", {}), ("Conv", "aw", "b", {}), ("Conv", "bw", "y", {"auto_pad": "SAME_UPPER"})],
        {"p": np.array([0, 0, 0, 1, 0, 0, 1, 1]), "w": RNG.standard_normal((5, 5, 2, 3))}, (5, 4, 4),
        [rv.Conv2d(5, 5, (2, 3), padding="same", bias=False)] * 2,
    ),
    "padding for windows that begin in the image": (
        [
            ("MaxPool", "x", "a", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
            ("AveragePool", "a", "y", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
        ],
        {}, (5, 10, 10), [rv.MaxPool2d(3, 2, ceil_mode=True), rv.AvgPool2d(2, ceil_mode=True)],
    ),
    "a mean without the padding": (
        [("AveragePool", "x", "y", {"kernel_shape": [3], "pads": [1, 1]})], {}, (5, 4),
        [rv.AvgPool1d(3, 1, 1, count_include_pad=False)],
    ),
    "an axis that becomes several": ([("Reshape", "xs", "y", {})], {"s": np.array([0, 5, 2, -1, 3])}, (5, 4, 3),
        [rv.Unflatten(2, (2, 2))],
    ),
    "channels in groups": ([("Reshape", "xs", "y", {})], {"s": np.array([-1, 2, 2, 3])}, (4, 3),
        [rv.Unflatten(1, (2, 2))],
    ),
    "a shape that is computed": (
        [
            ("Shape", "x", "a", {}), ("Gather", "ai", "b", {}), ("Unsqueeze", "bz", "c", {}),
            ("Concat", "cm", "d", {"axis": 0}), ("Reshape", "xd", "y", {}),
        ],
        {"i": np.array(0), "z": np.array([0]), "m": np.array([-1])}, (5, 4, 4), [rv.Flatten()],
    ),
    "a sum of branches": (
        [("Relu", "x", "a", {}), ("Tanh", "a", "b", {}), ("Sigmoid", "a", "c", {}), ("Sum", "abc", "y", {})], {}, (4,),
        [rv.ReLU(), rv.Residual([rv.Residual([rv.Tanh()])], [rv.Sigmoid()])],
    ),
    "twice itself": ([("Add", "xx", "y", {})], {}, (4,), [rv.Residual([])]),
    "dense connections": (
        [
            ("MatMul", "xw", "a", {}), ("Concat", "xa", "b", {"axis": 1}), ("MatMul", "bv", "c", {}),
            ("Concat", "xac", "d", {"axis": -1}), ("Relu", "d", "y", {}),
        ],
        {"w": SQUARE, "v": RNG.standard_normal((8, 4))}, (4,),
        [
            rv.Parallel([[], [rv.Linear(4, 4, bias=False)]]),
            rv.Parallel([[], [rv.Linear(8, 4, bias=False)]]),
            rv.ReLU(),
        ],
    ),
    "what nobody needs": ([("Relu", "x", "y", {}), ("Unknown", "y", "z", {})], {}, (4,), [rv.ReLU()]),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_become_layers(tmp_path, name):
    nodes, constants, shape, layers = GRAPHS[name]
    path = saved(tmp_path, model_of(nodes, constants, ("batch", *shape)))
    if name == "what nobody needs":
        assert ranvier.onnx.load(path).layers == tuple(layers)
        return
    net = same(path, shape)
    if name != "a sum of branches":
        assert net.layers == tuple(layers)


REFUSED = {
    "two inputs": ([("Add", ["x", "q"], "y", {})], {}, "expected a node that gives 'q'"),
    "an operator without a layer": ([("Abs", "x", "y", {})], {}, r"node 'n_y' \(Abs\): there is no layer"),
    "no operator at all": ([("Nothing", "x", "y", {})], {}, r"node 'n_y' \(Nothing\): .*opset 17"),
    "an unknown attribute": ([("Relu", "x", "y", {"power": 3})], {}, "expected attributes of opset 17"),
    "a cycle": ([("Add", "xb", "a", {}), ("Relu", "a", "b", {}), ("Relu", "b", "y", {})], {}, "needs its own output"),
    "a name twice": ([("Relu", "x", "y", {}), ("Tanh", "x", "y", {})], {}, "there is already"),
    "an output of nothing": ([("Relu", "x", "a", {})], {}, "expected a node that gives 'y'"),
    "nothing but the input": ([("Identity", "x", "y", {})], {}, "expected at least one node"),
    "a constant output": ([("Identity", "w", "y", {})], {"w": 1.0}, "expected an input, got none"),
    "a square": ([("Mul", "xx", "y", {})], {}, "there is no layer that multiplies"),
    "a wrong shape": ([("MatMul", "xw", "y", {})], {"w": np.zeros((3, 2))}, "expected 3 numbers"),
    "a bias that does not fit": ([("Gemm", "xwb", "y", {})], {"w": SQUARE, "b": [1, 2.0]}, "does not fit 4 outputs"),
    "no constant": ([("Relu", "x", "a", {}), ("MatMul", "xa", "y", {})], {}, "expected a constant second factor"),
    "a batch that is joined": ([("Reshape", "xs", "y", {})], {"s": np.array([1, -1])}, "leaves the batch as it is"),
    "a wrong attribute": ([("LeakyRelu", "x", "y", {"alpha": 1})], {}, "attribute 'alpha': expected float, got int"),
    "training": (
        [("BatchNormalization", "xvvvv", "y", {"training_mode": 1})], {"v": SQUARE[0]}, "expected training_mode=0",
    ),
    "parameters in two layers": (
        [("MatMul", "xw", "a", {}), ("Add", "av", "b", {}), ("Relu", "a", "c", {}), ("Concat", "bc", "y", {"axis": 1})],
        {"w": SQUARE, "v": SQUARE[0]}, "layers cannot share their parameters",
    ),
    "a square root of what is computed": ([("Sqrt", "x", "y", {})], {}, "there is no layer that does this"),
    "the wrong axis": ([("Softmax", "x", "y", {"axis": 0})], {}, "expected axis 1"),
    "uneven pads": (
        [("Reshape", "xs", "a", {}), ("MaxPool", "a", "y", {"kernel_shape": [2], "pads": [0, 1]})],
        {"s": np.array([0, 2, 2])}, r"pads: expected as many .*\[0, 1\]",
    ),
    "windows over vectors": ([("MaxPool", "x", "y", {"kernel_shape": [3]})], {}, "expected images"),
    "other axes that become several": (
        [("Reshape", "xs", "a", {}), ("Reshape", "ar", "y", {})], {"s": np.array([0, 2, 2]), "r": np.array([0, 4, 1])},
        "there is no layer that makes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_graphs_without_layers_are_refused(tmp_path, name):
    nodes, constants, message = REFUSED[name]
    with pytest.raises(ValueError, match=rf"model\.onnx: not a network that can be read: .*{message}") as caught:
        ranvier.onnx.load(saved(tmp_path, model_of(nodes, constants)))
    assert "\n" not in str(caught.value)


def test_several_outputs_are_chosen_by_name(tmp_path):
    path = saved(tmp_path, model_of([("Relu", "x", "y", {}), ("Tanh", "y", "z", {})], outputs=("y", "z")))
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    both = ranvier.onnx.load(path).predict(x)
    np.testing.assert_allclose(both["z"], np.tanh(np.maximum(x, 0)), rtol=1e-6)
    np.testing.assert_array_equal(both["y"], np.maximum(x, 0))
    assert ranvier.onnx.load(path, output="z").layers == (rv.ReLU(), rv.Tanh())
    assert ranvier.onnx.load(path, output="y").layers == (rv.ReLU(),)
    with pytest.raises(ValueError, match=r"expected one of .* got 'x'"):
        ranvier.onnx.load(path, output="x")


# --- files that are damaged or made to do harm ----------------------------------------------------------------------


def test_damaged_files_are_refused(tmp_path):
    """At any byte: what is read is a network, and what is not is a ValueError."""
    net = started(rv.Network([rv.Conv2d(1, 2, 3), rv.BatchNorm2d(2), rv.Residual([rv.ReLU()]), rv.GlobalAvgPool2d()]))
    path = tmp_path / "net.onnx"
    ranvier.onnx.export(net, path, (1, 5, 5))
    contents = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(contents[: rng.integers(len(contents))] if rng.random() < 0.3 else contents)
        for place in rng.integers(0, max(1, len(damaged)), rng.integers(1, 4)):
            if damaged:
                damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            ranvier.onnx.load(path)
        except ValueError as error:
            assert str(error).startswith(os.fspath(path))  # noqa: PT017
            refused += 1
    assert refused > 200


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        ranvier.onnx.load(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError):
        ranvier.onnx.load(tmp_path)
    for contents in (b"", b"PK\x03\x04", b"\xff" * 100, b"\x0a" * 100000, b"text"):
        path = tmp_path / "file"
        path.write_bytes(contents)
        with pytest.raises(ValueError, match="file: not a network that can be read: expected"):
            ranvier.onnx.load(path)
    with pytest.raises(ValueError, match="expected a plain file"):
        ranvier.onnx.load("/dev/zero")


@pytest.mark.parametrize(
    "change",
    [
        {"dims": [2**40, 2**40]},
        {"dims": [2**31 - 1, 2**31 - 1]},
        {"dims": [-4, -4]},
        {"dims": [4]},
        {"data_type": 99},
        {"data_type": TensorProto.STRING},
        {"data_type": TensorProto.COMPLEX64},
        {"raw_data": b"123"},
        {"raw_data": b""},
    ],
    ids=str,
)
def test_tensors_that_lie_are_refused(tmp_path, change):
    model = model_of([("MatMul", "xw", "y", {})], {"w": SQUARE})
    tensor = model.graph.initializer[0]
    for field, value in change.items():
        tensor.ClearField(field)
        if field == "dims":
            tensor.dims.extend(value)
        else:
            setattr(tensor, field, value)
    with pytest.raises(ValueError, match="tensor 'w': expected"):
        ranvier.onnx.load(saved(tmp_path, model))


def test_external_data_stays_in_the_folder(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    model = model_of([("MatMul", "xw", "y", {})], {"w": SQUARE})
    raw = model.graph.initializer[0].raw_data
    (inner / "weights").write_bytes(b"1234" + raw)
    (tmp_path / "outside").write_bytes(b"1234" + raw)
    (inner / "link").symlink_to(tmp_path / "outside")

    def load(location, offset="4", length="64"):
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        del tensor.external_data[:]
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": offset, "length": length}.items():
            tensor.external_data.add(key=key, value=value)
        return ranvier.onnx.load(saved(inner, model))

    np.testing.assert_array_equal(load("weights").parameters()["0.weight"], SQUARE.T.astype(np.float32))
    absolute = os.fspath(tmp_path / "outside")
    for location in ("../outside", "link", absolute, "", "a\0b", "/dev/zero", "weights/../../outside"):
        with pytest.raises(ValueError, match="external data: expected a file in the folder"):
            load(location)
    for location, offset, length in (
        ("nothing", "0", "64"), ("weights", "5", "64"), ("weights", "-1", "64"), ("weights", "0", "63"),
        ("weights", "a", "64"), ("weights", str(2**70), "64"), (".", "0", "64"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="external data:"):
            load(location, offset, length)


def test_bombs_are_refused(tmp_path):
    doubled = [("Concat", [f"c{i}", f"c{i}"], f"c{i + 1}", {"axis": 0}) for i in range(60)]
    with pytest.raises(ValueError, match="expected constants of at most"):
        ranvier.onnx.load(saved(tmp_path, model_of([*doubled, ("Mul", ["x", "c60"], "y", {})], {"c0": [1.0, 2.0]})))
    crossed = [
        node
        for i in range(40)
        for node in (
            ("Relu", [f"a{i}"], f"r{i}", {}), ("Tanh", [f"b{i}"], f"t{i}", {}),
            ("Add", [f"r{i}", f"b{i}"], f"a{i + 1}", {}), ("Add", [f"t{i}", f"a{i}"], f"b{i + 1}", {}),
        )
    ]  # fmt: skip
    start = [("Sigmoid", "x", "a0", {}), ("Tanh", "x", "b0", {})]
    crossing = model_of([*start, *crossed, ("Add", ["a40", "b40"], "y", {})], shape=("batch", 4))
    assert len(ranvier.onnx.load(saved(tmp_path, crossing)).layers) == 2 + 4 * 40 + 1
    nested = [("Relu", ["x"], "v0", {})]
    nested += [("Add", ["x", f"v{i}"], f"v{i + 1}", {}) for i in range(3000)]
    deep = model_of([*nested, ("Relu", ["v3000"], "y", {})], shape=("batch", 4))
    assert len(ranvier.onnx.load(saved(tmp_path, deep)).layers) == 3002
    long = [("Relu", ["x"], "v0", {}), *(("Relu", [f"v{i}"], f"v{i + 1}", {}) for i in range(3000))]
    assert len(ranvier.onnx.load(saved(tmp_path, model_of(long, outputs=("v3000",)))).layers) == 3001
    shape = ("batch", 2**31 - 1, 2**31 - 1, 2**31 - 1)
    with pytest.raises(ValueError, match="not a network that can be read"):
        ranvier.onnx.load(saved(tmp_path, model_of([("Add", "xc", "y", {})], {"c": 1.0}, shape)))


def test_subgraphs_and_other_domains_are_refused(tmp_path):
    model = model_of([("Relu", "x", "y", {})])
    branch = helper.make_graph([], "then", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("then_branch", branch))
    with pytest.raises(ValueError, match="attribute 'then_branch' is of a type that no layer has"):
        ranvier.onnx.load(saved(tmp_path, model))
    model = model_of([("Relu", "x", "y", {})])
    model.graph.node[0].domain = "com.example"
    with pytest.raises(ValueError, match=r"expected an operator of ONNX itself, got one of 'com\.example'"):
        ranvier.onnx.load(saved(tmp_path, model))
    for opset in (5, 99):
        model = model_of([("Relu", "x", "y", {})])
        model.opset_import[0].version = opset
        with pytest.raises(ValueError, match=f"expected an opset from 6 to .*, got {opset}"):
            ranvier.onnx.load(saved(tmp_path, model))
