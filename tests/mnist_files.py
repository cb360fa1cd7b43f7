"""Where the tests find MNIST: RANVIER_DATA, or ../shared/data/mnist beside the repository."""

import os
from pathlib import Path

WHY_NOT = "MNIST is neither in RANVIER_DATA nor in ../shared/data/mnist"


def mnist_folder():
    """Return the folder of the four files, or None."""
    here = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "mnist"
    given = Path(os.environ.get("RANVIER_DATA", here))
    for candidate in (given, given / "mnist", here):
        if any(candidate.glob("train-images-idx3-ubyte*")):
            return candidate
    return None
