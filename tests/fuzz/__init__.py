"""Random cases that go on looking for crashes and wrong answers; each is a function of its seed.

A domain is a module with ``case(seed)``, which raises if something is wrong. `tests/test_fuzz.py` runs some of each;
``python -m tests.fuzz --seconds 600 --seed 1`` runs many, in processes of their own.
"""

DOMAINS = ("kernels", "networks", "files", "commands")
