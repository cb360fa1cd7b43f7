"""The lecture notes' network, under the names that they give it: chapters 1 to 3 of Nielsen's book.

`Network` is what ``ranvier.Network([784, 30, 10])`` makes: sigmoid layers, trained by `Network.SGD`. A subclass may
write any method anew, as the notes do; `Network.SGD` then calls it. `QuadraticCost` and `CrossEntropyCost` are its
costs.

M. A. Nielsen: Neural Networks and Deep Learning (2015).
"""

from ranvier.notes.costs import Cost, CrossEntropyCost, QuadraticCost, sigmoid, sigmoid_prime
from ranvier.notes.network import Network, load

__all__ = ["Cost", "CrossEntropyCost", "Network", "QuadraticCost", "load", "sigmoid", "sigmoid_prime"]
