"""A network of two inputs and two outputs: the picture of a digit and a number, their sum and the digit.

The digits are scikit-learn's, 8 x 8 pixels. The network sees a digit and a number from 0 to 9, and learns both which
digit it is and what the two add up to.
"""

import numpy as np
import ranvier as rv

train, test = rv.datasets.digits()
rng = np.random.default_rng(0)


def problem(images, digits):
    """Return dicts of samples and of targets."""
    numbers = rng.integers(0, 10, (len(images), 1))
    sums = (digits + numbers[:, 0]).astype(np.float32)
    return {"image": images.reshape(-1, 1, 8, 8), "number": numbers / 9}, {"digit": digits, "sum": sums}


image, number = rv.Input((1, 8, 8)), rv.Input((1,))
features = rv.ReLU()(rv.Conv2d(1, 8, 3)(image))
features = rv.ReLU()(rv.Linear(8 * 6 * 6, 64)(rv.Flatten()(features)))
both = rv.ReLU()(rv.Linear(65, 32)(rv.Concat()([features, number])))
net = rv.Network(
    inputs={"image": image, "number": number},
    outputs={"digit": rv.Linear(64, 10)(features), "sum": rv.Linear(32, 1)(both)},
    seed=0,
)
print(net.summary())
loss = rv.JointLoss({"digit": rv.CrossEntropyLoss(), "sum": rv.MSELoss()}, weights={"sum": 0.3})
net.fit(*problem(*train), epochs=15, loss=loss, optimizer=rv.Adam(0.005), progress=False)
evaluation = net.evaluate(*problem(*test))
print(f"digits {evaluation.digit_accuracy:.3f}, sums within {evaluation.sum_mae:.2f}")
