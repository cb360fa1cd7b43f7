"""Training on several processes at once, which share each batch and add up its gradients over MPI.

A batch is cut into as many parts as there are ranks, or into ``shards``. Each rank takes its own parts forward and
back, all add up the gradients, and all make the same update; so each has the same network at any time. The core does
the arithmetic and calls back when a range of gradients is complete; what goes over MPI is in here. Needs mpi4py and an
MPI library, the extra ``mpi``.
"""

from ranvier.distributed.data_parallel import DataParallel

__all__ = ["DataParallel"]
