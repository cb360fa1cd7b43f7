"""Pictures: what is drawn is what was given, in the axes that was given."""

import io
import subprocess
import sys

import numpy as np
import pytest
import ranvier as rv
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from ranvier import datasets, kernels, plot
from ranvier.plot.common import COLORS
from ranvier.plot.layered import layered

HISTORY = rv.History([3.0, 2.0, 1.5], [0.1, 0.2, 0.4], [3.5, 2.5, 2.4], [0.15, 0.3, 0.35], [1.0, 1.0, 1.0])
MATRIX = [[5, 1, 0], [0, 7, 2], [0, 0, 9]]


def new_axes():
    return Figure().subplots()


def flat_network():
    return rv.Network([rv.Flatten(), rv.Linear(12, 5), rv.ReLU(), rv.Linear(5, 3)], seed=0)


def image_network():
    layers = [rv.Conv2d(2, 3, 3, padding=1), rv.ReLU(), rv.Conv2d(3, 4, (2, 3)), rv.Flatten(), rv.Linear(4 * 20, 2)]
    return rv.Network(layers, seed=0)


IMAGE = np.random.default_rng(0).standard_normal((2, 6, 6)).astype(np.float32)
POINTS, LABELS = datasets.spirals(60, classes=3, seed=0)


def classifier():
    return rv.Network([rv.Linear(2, 8), rv.Tanh(), rv.Linear(8, 3)], seed=0)


DRAWN = {
    "activation": lambda ax: plot.activation(["relu", "tanh"], ax),
    "confusion_matrix": lambda ax: plot.confusion_matrix(MATRIX, ax=ax),
    "decision_regions": lambda ax: plot.decision_regions(classifier(), POINTS, LABELS, ax, 20),
    "feature_maps": lambda ax: plot.feature_maps(image_network(), IMAGE, ax=ax),
    "filters": lambda ax: plot.filters(image_network(), ax=ax),
    "gradient_norms": lambda ax: plot.gradient_norms({"0.weight": [1, 0.1]}, ax),
    "learning_curves": lambda ax: plot.learning_curves(HISTORY, ax),
    "learning_rate_test": lambda ax: plot.learning_rate_test([0.1, 1], [2, 1], ax),
    "misclassified": lambda ax: plot.misclassified(np.zeros((2, 4)), [0, 1], [1, 0], ax=ax),
    "network_diagram": lambda ax: plot.network_diagram([2, 3], ax),
    "weight_images": lambda ax: plot.weight_images(flat_network(), 1, (3, 4), ax),
}


@pytest.mark.parametrize("name", plot.__all__)
def test_the_given_axes_comes_back_and_a_new_one_can_be_saved(name):
    ax = new_axes()
    assert DRAWN[name](ax) is ax
    picture = io.BytesIO()
    DRAWN[name](None).figure.savefig(picture, dpi=30)
    assert picture.getvalue().startswith(b"\x89PNG")


def test_pyplot_stays_out():
    code = """
import sys, numpy as np
import ranvier as rv
from ranvier import plot
assert "matplotlib" not in sys.modules
plot.learning_curves(rv.History([1.0], [1.0])).figure.savefig(sys.argv[1])
plot.decision_regions(rv.Network([2, 3], seed=0), np.eye(2), [0, 1], resolution=5).figure.savefig(sys.argv[1])
plot.filters(rv.Network([rv.Conv2d(1, 2, 3)])).figure.savefig(sys.argv[1])
plot.network_diagram([2, 3]).figure.savefig(sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, "/dev/null"], check=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    for module in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    for draw in DRAWN.values():
        with pytest.raises(ImportError, match=r"pip install 'ranvier\[plot\]'"):
            draw(None)


# --- training -----------------------------------------------------------------------------------------------


def drawn(ax):
    """Return each line's y values by its label."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines}


def test_learning_curves_are_the_history():
    loss, accuracy = plot.learning_curves(HISTORY).child_axes
    assert drawn(loss) == {"training": HISTORY.loss, "validation": HISTORY.val_loss}
    assert drawn(accuracy) == {"training": HISTORY.accuracy, "validation": HISTORY.val_accuracy}
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    for panel in (loss, accuracy):
        assert panel.get_xlabel() == "epoch"
        assert [text.get_text() for text in panel.get_legend().get_texts()] == ["training", "validation"]
        assert all(list(line.get_xdata()) == [1, 2, 3] for line in panel.lines)
        panel.figure.draw_without_rendering()
        assert all(tick == int(tick) for tick in panel.get_xticks())


def test_learning_curves_of_one_quantity_and_one_epoch():
    ax = plot.learning_curves(rv.History([2.0], [0.5]), quantities=["loss"])
    assert not ax.child_axes
    assert drawn(ax) == {"training": [2.0]}
    ax.figure.draw_without_rendering()
    low, high = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1]


def test_no_history_is_an_empty_picture():
    assert all(not panel.lines for panel in plot.learning_curves(rv.History()).child_axes)


def test_gradient_norms_are_lines_on_a_logarithmic_axis():
    norms = {"0.weight": [1e-3, 1e-4], "2.weight": [1.0, 0.0]}
    ax = plot.gradient_norms(norms, unit="step")
    assert drawn(ax)["0.weight"] == norms["0.weight"]
    np.testing.assert_array_equal(drawn(ax)["2.weight"], [1, np.nan])  # zero has no logarithm
    assert (ax.get_yscale(), ax.get_xlabel()) == ("log", "step")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(norms)
    plot.gradient_norms({"all": [0, 0]}).figure.draw_without_rendering()


def test_many_lines_differ():
    lines = plot.gradient_norms({str(i): [1] for i in range(12)}).lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 12


def test_learning_rate_test():
    rates, losses = [1e-4, 1e-2, 1], [2.0, 1.0, 3.0]
    ax = plot.learning_rate_test(rates, losses, suggestion=1e-2)
    line, mark = ax.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == (rates, losses)
    assert list(mark.get_xdata()) == [1e-2, 1e-2]
    assert ax.get_legend().get_texts()[0].get_text() == "suggestion: 0.01"
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "learning rate", "loss")
    assert ax.get_ylim()[1] >= 3


def test_a_loss_that_explodes_leaves_the_picture():
    ax = plot.learning_rate_test([1, 2, 3, 4], [2.0, 1.0, 1e9, np.inf])
    low, high = ax.get_ylim()
    assert 0 < low < 1
    assert 2 < high < 10


# --- classes ------------------------------------------------------------------------------------------------


def test_regions_are_the_networks_classes_where_they_are_drawn():
    net, points = classifier(), POINTS * np.float32([1, 4]) + np.float32([0, 2])
    ax = plot.decision_regions(net, points, LABELS, resolution=50)
    (image,) = ax.images
    left, right, bottom, top = image.get_extent()
    across = left + (np.arange(50) + 0.5) / 50 * (right - left)
    up = bottom + (np.arange(50) + 0.5) / 50 * (top - bottom)
    assert image.origin == "lower"
    regions = image.get_array()
    assert len(np.unique(regions)) > 1
    for row, column in [(0, 0), (0, 49), (49, 0), (25, 10), (13, 44), (31, 25)]:
        assert regions[row, column] == net.predict([[across[column], up[row]]]).argmax()
    x, y = points.T
    assert left < x.min() < x.max() < right
    assert bottom < y.min() < y.max() < top


def test_points_have_the_colour_of_their_region():
    ax = plot.decision_regions(classifier(), POINTS, np.eye(3)[LABELS], resolution=20)
    scatters = [item for item in ax.collections if isinstance(item, PathCollection)]
    for label, scatter in enumerate(scatters):
        chosen = np.flatnonzero(label == LABELS)
        np.testing.assert_allclose(scatter.get_offsets(), POINTS[chosen])
        np.testing.assert_allclose(scatter.get_facecolor()[0, :3], to_rgb(COLORS[label]))
        pale = ax.images[0].to_rgba(np.array([label]))[0, :3]
        np.testing.assert_allclose(pale, 0.6 + 0.4 * np.array(to_rgb(COLORS[label])))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1", "2"]


@pytest.mark.parametrize("threshold", [0.5, 0.0])
def test_a_single_output_is_compared_with_the_threshold(threshold):
    net = rv.Network([rv.Linear(2, 1, bias=False)], seed=0)
    net.load_state_dict({"0.weight": [[1.0, 0.0]]})
    ax = plot.decision_regions(net, [[-1, -1], [1, 1]], [0, 1], resolution=100, threshold=threshold)
    left, right, *_ = ax.images[0].get_extent()
    across = left + (np.arange(100) + 0.5) / 100 * (right - left)
    np.testing.assert_array_equal(ax.images[0].get_array()[7], across > threshold)


def test_more_classes_than_colours():
    net = rv.Network([rv.Linear(2, 17)], seed=0)
    ax = plot.decision_regions(net, POINTS, LABELS, resolution=10)
    first = ax.images[0].to_rgba(np.arange(14))
    assert len(np.unique(first, axis=0)) == 14


def test_confusion_matrix_has_its_counts_in_the_cells():
    ax = plot.confusion_matrix(MATRIX, ["cat", "dog", "mouse"])
    assert [int(text.get_text()) for text in ax.texts] == np.ravel(MATRIX).tolist()
    places = [(int(text.get_position()[1]), int(text.get_position()[0])) for text in ax.texts]
    assert places == list(np.ndindex(3, 3))  # rows down, columns across
    np.testing.assert_array_equal(ax.images[0].get_array(), MATRIX)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["cat", "dog", "mouse"]


# --- images -------------------------------------------------------------------------------------------------


def arrays(ax):
    return np.stack([image.get_array() for image in ax.images])


def test_weight_images_are_the_rows_of_the_weight():
    net = flat_network()
    ax = plot.weight_images(net, shape=(3, 4), columns=2)
    np.testing.assert_array_equal(arrays(ax), net.parameters()["1.weight"].reshape(5, 3, 4))
    high = np.abs(net.parameters()["1.weight"]).max()
    assert all(image.get_clim() == pytest.approx((-high, high)) for image in ax.images)
    square = rv.Network([rv.Linear(16, 2)], seed=0)
    assert arrays(plot.weight_images(square)).shape == (2, 4, 4)
    assert arrays(plot.weight_images(net, 3, (1, 5))).shape == (3, 1, 5)


def test_images_lie_row_by_row_without_overlap_and_upright():
    extents = [image.get_extent() for image in plot.weight_images(flat_network(), 1, (3, 4), columns=2).images]
    for i, (left, right, bottom, top) in enumerate(extents):
        assert top < bottom  # the axis points down, as rows of an image do
        assert (right - left) * 3 == pytest.approx((bottom - top) * 4)
        if i % 2:
            assert left > extents[i - 1][1]
            assert top == extents[i - 1][3]
        elif i:
            assert top > extents[i - 1][2]
            assert left == extents[0][0]


def test_filters_are_the_weights_of_the_convolution():
    net = image_network()
    for layer, name, depth in ((None, "0.weight", 2), (2, "2.weight", 3)):
        ax = plot.filters(net, layer)
        weight = net.parameters()[name]
        np.testing.assert_array_equal(arrays(ax), weight.reshape(-1, *weight.shape[2:]))
        lefts = [image.get_extent()[0] for image in ax.images]
        assert lefts.index(lefts[0], 1) == depth  # one row for each output channel
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("input channel", "output channel")


def test_feature_maps_are_the_inner_layers_outputs():
    net = image_network()
    weight, bias = net.parameters()["0.weight"], net.parameters()["0.bias"]
    expected = kernels.conv2d(IMAGE[None], weight, bias, padding=1)[0]
    np.testing.assert_allclose(arrays(plot.feature_maps(net, IMAGE)), expected, atol=1e-5)
    np.testing.assert_allclose(arrays(plot.feature_maps(net, IMAGE, 1)), np.maximum(expected, 0), atol=1e-5)
    assert arrays(plot.feature_maps(net, IMAGE.tolist(), 2)).shape == (4, 5, 4)


def test_misclassified_shows_what_was_wrong():
    x = np.random.default_rng(0).random((6, 1, 4, 5))
    y, predicted = [0, 1, 2, 0, 1, 2], [0, 2, 2, 1, 0, 2]
    ax = plot.misclassified(x, y, np.eye(3)[predicted], 2, classes=["cat", "dog", "mouse"])
    np.testing.assert_array_equal(arrays(ax), x[[1, 3], 0])
    assert [text.get_text() for text in ax.texts] == ["true dog\npredicted mouse", "true cat\npredicted dog"]
    assert ax.get_title() == "3 of 6 misclassified, the first 2"
    vectors = plot.misclassified(x.reshape(6, 20), y, predicted, shape=(4, 5))
    np.testing.assert_array_equal(arrays(vectors), x[[1, 3, 4], 0])
    coloured = np.random.default_rng(0).random((6, 3, 4, 5))
    np.testing.assert_array_equal(
        arrays(plot.misclassified(coloured, y, predicted)), coloured[[1, 3, 4]].transpose(0, 2, 3, 1)
    )
    none = plot.misclassified(x, y, y)
    assert (len(none.images), none.get_title()) == (0, "0 of 6 misclassified")


# --- functions and networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["elu", "heaviside", "leaky_relu", "relu6", "selu", "sigmoid", "silu", "mish", "hardswish"]
)
def test_activation_and_its_derivative(name):
    value, slope = plot.activation(name, bound=3).lines[:2]
    x = value.get_xdata()
    assert (x[0], x[-1]) == (-3, 3)
    np.testing.assert_array_equal(value.get_ydata(), getattr(kernels, name)(x))
    smooth = (np.abs(x) > 0.01) & (np.abs(x) < 2.99)  # away from kinks
    differences = (getattr(kernels, name)(x + 1e-6) - getattr(kernels, name)(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope.get_ydata()[smooth], differences[smooth], atol=1e-6)
    assert (value.get_label(), slope.get_label()) == (name, f"derivative of {name}")


def circles(ax):
    return [patch for patch in ax.patches if isinstance(patch, Circle)]


def test_diagram_of_a_small_network_has_all_units_and_connections():
    ax = plot.network_diagram([2, 3, 4])
    assert len(circles(ax)) == 9
    edges = [segment for item in ax.collections if isinstance(item, LineCollection) for segment in item.get_segments()]
    assert len(edges) == 2 * 3 + 3 * 4
    centres = {circle.center for circle in circles(ax)}
    assert all(tuple(end) in centres for edge in edges for end in edge)
    assert [text.get_text() for text in ax.texts] == ["2\ninput", "3\nhidden", "4\noutput"]


def test_diagram_leaves_units_out_of_large_layers_only():
    ax = plot.network_diagram(rv.Network([rv.Flatten(), rv.Linear(13, 12), rv.Tanh(), rv.Linear(12, 1)], seed=0))
    across = [circle.center[0] for circle in circles(ax)]
    assert [across.count(place) for place in sorted(set(across))] == [10, 12, 1]
    texts = [text.get_text() for text in ax.texts]
    assert texts.count("\N{VERTICAL ELLIPSIS}") == 1
    assert "12\nhidden\nTanh" in texts


def test_diagram_of_other_layers_has_their_shapes():
    ax = plot.network_diagram(image_network(), input_shape=(2, 6, 6))
    texts = [text.get_text() for text in ax.texts if text.get_text()]
    shapes = ["2 × 6 × 6", "3 × 6 × 6", "3 × 6 × 6", "4 × 5 × 4", "80", "2"]  # noqa: RUF001
    layers = ["Conv2d(2, 3, 3, padding=1)", "ReLU()", "Conv2d(3, 4, (2, 3))", "Flatten()", "Linear(80, 2)"]
    assert texts == [*shapes, *layers]
    heights = {text.get_text(): text.get_position()[1] for text in ax.texts if text.get_text() in layers + shapes}
    assert heights["2 × 6 × 6"] < heights[layers[0]] < heights[layers[1]]  # noqa: RUF001


def wired_network():
    image, table = rv.Input((1, 4, 4)), rv.Input((3,))
    h = rv.Flatten()(rv.Conv2d(1, 2, 3)(image))
    both = rv.Concat()([h, table])
    outputs = {"digit": rv.Linear(11, 5)(both), "age": rv.Linear(8, 1)(h)}
    return rv.Network(inputs={"image": image, "table": table}, outputs=outputs, seed=0)


def test_diagram_of_any_wiring_has_inputs_above_and_outputs_below():
    ax = plot.network_diagram(wired_network())
    places = {text.get_text(): text.get_position() for text in ax.texts if text.get_text()}
    boxes = [
        "image",
        "table",
        "Conv2d(1, 2, 3)",
        "Flatten()",
        "Concat()",
        "Linear(11, 5)",
        "Linear(8, 1)",
        "digit",
        "age",
    ]
    shapes = ["1 × 4 × 4", "3", "2 × 2 × 2", "8", "11", "5", "1"]  # noqa: RUF001
    assert sorted(places) == sorted(boxes + shapes)
    assert len({places[box] for box in boxes}) == len(boxes)
    down = {box: places[box][1] for box in boxes}
    assert down["image"] == down["table"] < down["Conv2d(1, 2, 3)"] < down["Flatten()"] < down["Concat()"]
    assert down["Linear(11, 5)"] < down["digit"] == down["age"]
    starts = sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines)
    assert len(starts) == 8
    assert starts.count(places["Flatten()"]) == 2
    with pytest.raises(TypeError, match="input_shape: expected None"):
        plot.network_diagram(wired_network(), input_shape=(19,))


def test_lines_pass_no_box():
    """Of a chain in which each reads all before it: a line has a place of its own in the rows that it crosses."""
    nodes = [-1, 0, 1, 2, 3, 4]
    edges = [(source, target) for target in nodes for source in nodes if source < target]
    layout = layered(nodes, edges, [4])
    assert [layout.places[node][1] for node in nodes] == [0, 1, 2, 3, 4, 5]
    for (source, target), line in zip(edges, layout.lines, strict=True):
        assert (line[0], line[-1]) == (layout.places[source], layout.places[target])
        assert not set(line[1:-1]) & set(layout.places.values())
        assert [row for _, row in line] == list(range(layout.places[source][1], layout.places[target][1] + 1))


def test_filters_and_feature_maps_of_any_wiring():
    net = wired_network()
    image = np.random.default_rng(0).standard_normal((1, 4, 4))
    maps = arrays(plot.feature_maps(net, {"image": image, "table": np.zeros(3)}))
    alone = rv.Network([net.layers[0]], seed=0)
    alone.load_state_dict({name: net.state_dict()[name] for name in ("0.weight", "0.bias")})
    np.testing.assert_allclose(maps, alone.predict(image[None])[0], atol=1e-6)
    assert len(arrays(plot.filters(net))) == 2


# --- bad calls ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: plot.learning_curves(HISTORY, quantities=["lost"]), ValueError, "quantities: expected 'loss'"),
        (lambda: plot.gradient_norms({}), ValueError, "norms: expected the norms of at least one"),
        (lambda: plot.gradient_norms({"a": 1.0}), ValueError, r"norms: a: expected numbers of shape \(n,\)"),
        (lambda: plot.gradient_norms({"a": ["x"]}), TypeError, "norms: a: expected real numbers"),
        (lambda: plot.learning_rate_test([1, 2], [1]), ValueError, "losses: expected one for each of 2 rates, got 1"),
        (lambda: plot.learning_rate_test([0, 2], [1, 1]), ValueError, "rates: expected learning rates above 0, got 0"),
        (lambda: plot.learning_rate_test([1], [1], None, -1), ValueError, "suggestion: expected .* above 0, got -1"),
        (lambda: plot.activation("swish"), ValueError, "names: expected some of .*, got 'swish'"),
        (lambda: plot.activation([]), ValueError, "names: expected one to six"),
        (lambda: plot.activation("relu", bound=0), ValueError, "bound: expected a number above 0"),
        (lambda: plot.decision_regions(classifier(), [[1, 2, 3]], [0]), ValueError, r"x: expected points .* \(1, 3\)"),
        (lambda: plot.decision_regions(classifier(), POINTS, [0]), ValueError, "y: expected one label for each of 60"),
        (lambda: plot.confusion_matrix([[1, 2]]), ValueError, r"matrix: expected counts .*got shape \(1, 2\)"),
        (lambda: plot.confusion_matrix([[0.5]]), TypeError, "matrix: expected integer counts"),
        (lambda: plot.confusion_matrix(MATRIX, ["a"]), ValueError, "classes: expected 3 names, got 1"),
        (lambda: plot.weight_images(flat_network()), ValueError, "shape: expected .* 12 pixels are no square"),
        (lambda: plot.weight_images(flat_network(), 1, (3, 5)), ValueError, "shape: expected .* of 12 pixels, got 3"),
        (lambda: plot.weight_images(flat_network(), 2), ValueError, r"layer: expected .* of a Linear, got ReLU\(\)"),
        (lambda: plot.weight_images(flat_network(), 4), ValueError, "layer: expected a position from 0 to 3, got 4"),
        (lambda: plot.filters(flat_network()), ValueError, "network: expected a Conv2d"),
        (lambda: plot.filters(image_network(), columns=0), ValueError, "columns: expected at least 1"),
        (lambda: plot.feature_maps(image_network(), IMAGE, 3), ValueError, r"layer: expected one whose output .*80"),
        (lambda: plot.misclassified(np.zeros((2, 4)), [0], [0]), ValueError, "x: expected one for each of 1"),
        (lambda: plot.misclassified(np.zeros((1, 2, 2, 2)), [0], [0]), ValueError, "x: expected images of 1 or 3"),
        (lambda: plot.misclassified(np.zeros((1, 4)), [1], [0], classes=["a"]), ValueError, "classes: expected at"),
        (lambda: plot.network_diagram([3]), ValueError, "network: expected at least two sizes"),
        (lambda: plot.network_diagram([3, 0]), ValueError, "network: expected at least 1, got 0"),
        (lambda: plot.network_diagram(image_network()), ValueError, "input_shape: expected the shape of a sample"),
    ],
)
def test_unfit_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
