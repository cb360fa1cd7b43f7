"""Pictures of data, training and networks. Needs matplotlib, the extra ``plot``.

Every function draws in the ``Axes`` that it is given, or in the only one of a new figure, and returns it. So
``plot.learning_curves(history).figure.savefig("curves.png")`` writes a picture, and the axes of one's own
``pyplot.subplots()`` can be filled one by one. In a notebook a new figure is one of pyplot's, so that it is shown below
the cell; elsewhere pyplot is never imported. Small images lie side by side in one ``Axes``, as its ``images``, row by
row. Only `learning_curves` divides its ``Axes``, into panels: its ``child_axes``.

The colours can be told apart by the colour-blind.
"""

from ranvier.plot.classes import confusion_matrix, decision_regions
from ranvier.plot.diagram import network_diagram
from ranvier.plot.functions import activation
from ranvier.plot.images import feature_maps, filters, misclassified, weight_images
from ranvier.plot.training import gradient_norms, learning_curves, learning_rate_test

__all__ = [
    "activation",
    "confusion_matrix",
    "decision_regions",
    "feature_maps",
    "filters",
    "gradient_norms",
    "learning_curves",
    "learning_rate_test",
    "misclassified",
    "network_diagram",
    "weight_images",
]
