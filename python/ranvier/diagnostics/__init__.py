"""What goes wrong in training, and where: a check of gradients, observers of a training run, a learning rate test.

`gradient_check` compares backpropagation with finite differences. The classes are callbacks for
`ranvier.Network.fit`: each looks at the network after an epoch, on a fixed probe batch, and changes nothing of the
training.
`learning_rate_range_test` tells which learning rates suit a network. `ranvier.plot` draws what comes of them.
"""

from ranvier.diagnostics.gradients import GradientCheck, ParameterCheck, gradient_check
from ranvier.diagnostics.learning_rates import LearningRateTest, learning_rate_range_test
from ranvier.diagnostics.observers import ActivationHistograms, DeadUnits, GradientNorms, Saturation, UpdateRatios

__all__ = [
    "ActivationHistograms",
    "DeadUnits",
    "GradientCheck",
    "GradientNorms",
    "LearningRateTest",
    "ParameterCheck",
    "Saturation",
    "UpdateRatios",
    "gradient_check",
    "learning_rate_range_test",
]
