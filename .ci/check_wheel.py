#!/usr/bin/env python3
"""Check an installed wheel for Linux: its OpenMP comes with it, threadpoolctl limits it, and PyTorch works beside it.

python .ci/check_wheel.py
"""

import sys
from pathlib import Path

import numpy as np
import ranvier as rv
import sklearn.cluster
import threadpoolctl
import torch


def main() -> int:
    """Use all libraries in turn, with and without a limit of threads; raise AssertionError for what is wrong."""
    package = Path(rv.__file__).parent
    assert "site-packages" in package.parts, f"ranvier is imported from {package}, and not from a wheel"
    libraries = [Path(entry["filepath"]) for entry in threadpoolctl.threadpool_info()]
    own = [path for path in libraries if path.parent == package.parent / "ranvier.libs"]
    assert [path.name.partition("-")[0] for path in own] == ["libgomp"], f"not one libgomp of its own: {libraries}"

    a = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    wanted = rv.kernels.matmul(a, a)
    with threadpoolctl.threadpool_limits(1):
        assert rv.num_threads() == 1, "threadpoolctl does not limit ranvier's threads"
        assert np.array_equal(rv.kernels.matmul(a, a), wanted)
    for _ in range(3):
        product = torch.from_numpy(a) @ torch.from_numpy(a)
        sklearn.cluster.KMeans(3, n_init=1, random_state=0).fit(a)
        assert np.array_equal(rv.kernels.matmul(a, a), wanted)
        np.testing.assert_allclose(product.numpy(), wanted, rtol=1e-3, atol=1e-3)
    print(f"ranvier {rv.__version__}: its own {own[0].name}, beside PyTorch {torch.__version__} and scikit-learn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
