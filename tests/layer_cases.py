"""Each layer of the library with some settings, for tests of what is made from all layers."""

import ranvier as rv

IMAGES, LINES = (3, 12, 12), (3, 12)

# A layer, and the shape of its samples.
CASES = [
    (rv.AdaptiveAvgPool1d(1), LINES),
    (rv.AdaptiveAvgPool1d(5), LINES),
    (rv.AdaptiveAvgPool2d(1), IMAGES),
    (rv.AdaptiveAvgPool2d((4, None)), IMAGES),
    (rv.AdaptiveAvgPool2d(5), IMAGES),
    (rv.AdaptiveMaxPool1d(4), LINES),
    (rv.AdaptiveMaxPool2d(1), IMAGES),
    (rv.AdaptiveMaxPool2d((5, 7)), IMAGES),
    (rv.AvgPool1d(4, 3, 2, count_include_pad=False), LINES),
    (rv.AvgPool2d(3, 2, 1), IMAGES),
    (rv.AvgPool2d(3, 2, 1, ceil_mode=True), IMAGES),
    (rv.AvgPool2d(5, 2, ceil_mode=True), IMAGES),
    (rv.BatchNorm1d(5, eps=1e-3, affine=False), (5,)),
    (rv.BatchNorm1d(3), LINES),
    (rv.BatchNorm2d(3), IMAGES),
    (rv.Conv1d(3, 6, 4, 2, 1, 2, groups=3), LINES),
    (rv.Conv1d(3, 4, 4, padding="same"), LINES),
    (rv.Conv2d(3, 4, (2, 3), padding="same"), IMAGES),
    (rv.Conv2d(3, 4, 3, padding="valid"), IMAGES),
    (rv.Conv2d(3, 6, 3, stride=2, padding=(1, 2), dilation=2, groups=3), IMAGES),
    (rv.ConvTranspose2d(3, 6, (3, 2), 2, 1, output_padding=(1, 0), groups=3, dilation=2), IMAGES),
    (rv.Dropout(0.3), (5,)),
    (rv.Dropout1d(0.3), LINES),
    (rv.Dropout2d(0.3), IMAGES),
    (rv.ELU(0.5), (5,)),
    (rv.Embedding(20, 3), (5,)),
    (rv.Flatten(), IMAGES),
    (rv.GELU(), (5,)),
    (rv.GRU(12, 4, num_layers=2, bias=False), (7, 12)),
    (rv.GRU(12, 4, return_sequences=True), (7, 12)),
    (rv.GaussianNoise(0.1), (5,)),
    (rv.GlobalAvgPool2d(), IMAGES),
    (rv.GroupNorm(3, 3, eps=1e-3), IMAGES),
    (rv.GroupNorm(1, 3, affine=False), IMAGES),
    (rv.Hardswish(), (5,)),
    (rv.Heaviside(), (5,)),
    (rv.Identity(), (5,)),
    (rv.LSTM(12, 4, num_layers=2), (7, 12)),
    (rv.LSTM(12, 4, return_sequences=True), (7, 12)),
    (rv.LayerNorm((12, 12), eps=1e-3), IMAGES),
    (rv.LayerNorm(5, elementwise_affine=False), (5,)),
    (rv.LeakyReLU(0.3), (5,)),
    (rv.Linear(12, 4), IMAGES),
    (rv.Linear(5, 4, bias=False), (5,)),
    (rv.LogSoftmax(), (5,)),
    (rv.LogSoftmax(), IMAGES),
    (rv.MaxPool1d(3, 2, 1), LINES),
    (rv.MaxPool2d((3, 2), (1, 2), (1, 0)), IMAGES),
    (rv.MaxPool2d(3, 2, ceil_mode=True), IMAGES),
    (rv.Maxout(3), IMAGES),
    (rv.Mish(), (5,)),
    (rv.PReLU(3), IMAGES),
    (rv.PReLU(), (5,)),
    (rv.Parallel([[rv.ReLU()], []]), (5,)),
    (rv.RReLU(0.1, 0.3), (5,)),
    (rv.ReLU6(), (5,)),
    (rv.SELU(), (5,)),
    (rv.SiLU(), (5,)),
    (rv.RandomCrop((6, 14), (1, 1)), IMAGES),
    (rv.RandomCrop(12, 2), IMAGES),
    (rv.RandomCrop((5, 7)), IMAGES),
    (rv.RandomHorizontalFlip(0.5), IMAGES),
    (rv.RandomRotation(10), IMAGES),
    (rv.RandomShift(2), IMAGES),
    (rv.ReLU(), (5,)),
    (rv.Residual([rv.Tanh()], [rv.Sigmoid()]), (5,)),
    (rv.Sigmoid(), (5,)),
    (rv.Softmax(), (5,)),
    (rv.Softplus(), (5,)),
    (rv.Standardize(3), IMAGES),
    (rv.Standardize(5), (5,)),
    (rv.Tanh(), (5,)),
    (rv.Unflatten(1, (4, -1)), (12,)),
    (rv.Unflatten(2, (4, 3)), IMAGES),
    (rv.Upsample((2, 0.5)), IMAGES),
    (rv.Upsample(1.5, "bilinear", align_corners=True), IMAGES),
    (rv.Upsample((0.7, 3), "bilinear"), IMAGES),
    (rv.Upsample((0.7, 1.3), "bilinear", align_corners=True), IMAGES),
]


# Those of one input, which stand in lists.
LAYERS = sorted(
    {
        layer
        for name in rv.layers.__all__
        if isinstance(layer := getattr(rv.layers, name), type) and issubclass(layer, rv.layers.Layer)
    }
    - {rv.layers.Layer, rv.Add, rv.Concat},
    key=lambda layer: layer.__name__,
)


def named(value):
    """The id of a parameter of a test: the layer itself."""
    return repr(value) if isinstance(value, rv.layers.Layer) else None
