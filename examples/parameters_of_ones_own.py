"""A layer of one's own with parameters: features of random waves, whose frequencies are trained, fit a wavy curve."""

import numpy as np
import ranvier as rv
from ranvier.initializers import Normal
from ranvier.testing import check_layer


@rv.register_layer  # so that a file may name it
class Waves(rv.CustomLayer):
    """y = sin(x @ frequency.T + phase)."""

    inputs: int
    outputs: int
    highest: float = 10.0

    def parameters(self):
        """Declare what there is to train."""
        return {
            "frequency": rv.Parameter((self.outputs, self.inputs), Normal(self.highest)),
            "phase": rv.Parameter(self.outputs, Normal(3.0)),
        }

    def forward(self, x, ctx):
        """Keep what backward needs in the context."""
        ctx.x = x
        ctx.angle = x @ ctx.parameters["frequency"].T + ctx.parameters["phase"]
        return np.sin(ctx.angle)

    def backward(self, grad, ctx):
        """Return the gradient to x, and those of the parameters."""
        grad_angle = grad * np.cos(ctx.angle)
        gradients = {"frequency": grad_angle.T @ ctx.x, "phase": grad_angle.sum(axis=0)}
        return grad_angle @ ctx.parameters["frequency"], gradients


check_layer(Waves(2, 5), 2)  # its gradients are right, among others

x = np.linspace(-1, 1, 400, dtype=np.float32)[:, None]
y = np.sin(12 * x) * np.exp(-x * x) + 0.3 * np.cos(31 * x)
for name, layers in {
    "tanh": [rv.Linear(1, 32), rv.Tanh(), rv.Linear(32, 1)],
    "waves": [Waves(1, 32), rv.Linear(32, 1)],
}.items():
    net = rv.Network(layers, seed=0)
    net.fit(x, y, epochs=200, loss=rv.MSELoss(), optimizer=rv.Adam(1e-2), progress=False)
    print(f"{name}: mean squared error {net.evaluate(x, y).loss:.5f}")
print(net.summary())
