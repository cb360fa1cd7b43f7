"""Lesson 1, neurons: a perceptron that is a NAND gate, and a sigmoid neuron that learns by two costs.

The sigmoid neuron starts where it is badly wrong, and shall give 0 for the input 1: with the quadratic cost it learns
slowly at first, with the cross-entropy at once. Run it as ``python lesson_01_neurons.py [picture.png]``.
"""

import sys

import numpy as np
import ranvier as rv
from matplotlib.figure import Figure
from ranvier import plot
from ranvier.plot.common import line_style

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
COSTS = {"quadratic": rv.QuadraticLoss(), "cross-entropy": rv.BCELoss()}


def nand_gate():
    """Return a perceptron with weights -2 and -2 and bias 3."""
    net = rv.Network([rv.Linear(2, 1), rv.Heaviside()])
    net.load_state_dict({"0.weight": [[-2, -2]], "0.bias": [3]})
    return net


def train_neuron(cost, epochs=300, eta=0.15):
    """Return the history of a sigmoid neuron with w = b = 2 that learns to give 0 for 1, and its outputs."""
    net = rv.Network([rv.Linear(1, 1), rv.Sigmoid()])
    net.load_state_dict({"0.weight": [[2]], "0.bias": [2]})
    x, y = [[1.0]], [[0.0]]
    outputs = [net.predict(x).item()]

    def note_output(net, epoch, history):
        outputs.append(net.predict(x).item())

    history = net.fit(x, y, epochs=epochs, loss=cost, optimizer=rv.SGD(eta), callbacks=[note_output], progress=False)
    return history, outputs


def draw(gate, histories):
    """Return a picture of the gate's two regions, and of the costs over the epochs."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot.decision_regions(gate, INPUTS, gate.predict(INPUTS)[:, 0].astype(int), left)
    left.set_title("The perceptron is a NAND gate")
    left.get_legend().set_title("output")
    for number, (name, history) in enumerate(histories.items()):
        style = line_style(number) | {"linestyle": ("-", "--")[number]}
        right.plot(np.array(history.loss) / history.loss[0], label=name, **style)
    right.set(title="A sigmoid neuron learns", xlabel="epoch", ylabel="cost / cost at the start", ylim=(0, 1.05))
    right.grid(alpha=0.3)
    right.legend(loc=(0.12, 0.45))
    return figure


def main(picture):
    """Print the truth table and how the neuron learns, and write the picture."""
    gate = nand_gate()
    for (a, b), output in zip(INPUTS, gate.predict(INPUTS)[:, 0], strict=True):
        print(f"{a} nand {b} = {output:.0f}")
    histories = {}
    for name, cost in COSTS.items():
        histories[name], outputs = train_neuron(cost)
        steps = ", ".join(f"{outputs[epoch]:.3f} after {epoch}" for epoch in (1, 50, 100, 200, 300))
        print(f"{name} cost: output {outputs[0]:.3f} at the start, {steps} epochs")
    draw(gate, histories).savefig(picture, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "lesson_01.png")
