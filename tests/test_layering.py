"""The storeys: imports and includes go down only."""

import ast
import graphlib
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ranvier

ROOT = Path(__file__).resolve().parents[1]

# Of the Python package, from the top; a module imports only what stands lower, also for types alone.
MODULES = [
    ["__main__"],
    ["cli"],
    ["models"],
    ["__init__"],
    ["plot", "diagnostics", "testing", "onnx", "torch", "tuning", "notes", "sklearn"],
    ["graph_network"],
    ["network"],
    ["keeping"],
    ["stepping"],
    ["inference"],
    ["parameterized"],
    ["fitting", "predictor", "checkpoint", "loggers"],
    ["training", "profiling", "standardizing", "tracing"],
    ["distributed"],
    ["joint_metrics"],
    ["engine", "callbacks", "summary", "batches"],
    ["epoch_metrics", "joint_losses"],
    ["metrics", "wiring"],
    ["data", "serialization"],
    ["custom", "custom_losses", "probabilities"],
    ["datasets", "kernels", "layers", "losses", "optimizers", "history", "labels"],
    ["initializers", "schedules", "rows"],
    ["checks"],
    ["progress"],
    ["types", "files", "patterns", "settings", "prefetching", "tables", "notebook", "hooks"],
    ["_core"],
]
LEVEL = {name: level for level, names in enumerate(MODULES) for name in names}


def imported(tree):
    """Yield the package's modules that a module imports, at its head or later, to run or for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ranvier":
            parts = node.module.split(".")
            if len(parts) > 1:
                yield parts[1]
            else:
                yield from (alias.name if alias.name in LEVEL else "__init__" for alias in node.names)
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "ranvier":
                    yield parts[1] if len(parts) > 1 else "__init__"


def test_python_imports_go_down():
    package = ROOT / "python" / "ranvier"
    files = list(package.rglob("*.py"))
    assert len(files) > 15
    for path in files:
        parts = path.relative_to(package).with_suffix("").parts
        own = parts[0]
        for module in imported(ast.parse(path.read_text())):
            if own == module:  # within a package
                continue
            assert LEVEL[own] < LEVEL[module], f"{path} imports {module}"


def full_name(path):
    parts = path.relative_to(ROOT / "python").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(tree, modules):
    """Yield the full names of the modules that a module imports, those of its own package included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules or name == "ranvier._core" else node.module for name in names)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_no_modules_import_each_other():
    """Not within a package such as ``layers`` either."""
    trees = {full_name(path): ast.parse(path.read_text()) for path in (ROOT / "python" / "ranvier").rglob("*.py")}
    assert len(trees) > 50
    graph = {name: set(imported_modules(tree, trees)) & trees.keys() for name, tree in trees.items()}
    assert graph["ranvier.layers.linear"] >= {"ranvier.layers.base"}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises a CycleError that names them


def test_only_the_network_is_a_network():
    """What stands below takes the engine, the layers or the parameters that it needs."""
    package = ROOT / "python" / "ranvier"
    below = [path for path in package.glob("*.py") if LEVEL[path.stem] > LEVEL["network"]]
    assert len(below) > 15
    for path in below:
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert "Network" not in names, path


def test_all_modules_are_there_from_the_start():
    code = """
import importlib, pkgutil, sys
import ranvier
names = [module.name for module in pkgutil.iter_modules(ranvier.__path__) if not module.name.startswith("_")]
assert len(names) > 20, names
loaded = set(sys.modules)
for name in names:
    assert name in dir(ranvier), name
    assert getattr(ranvier, name) is importlib.import_module(f"ranvier.{name}"), name
loaded = {name for name in loaded if name.startswith("ranvier.") and not name.startswith("ranvier._core")}
assert loaded == {"ranvier.hooks", "ranvier.kernels"}, "importing the package stays quick"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_loaded_late_is_what_type_checkers_see():
    tree = ast.parse((ROOT / "python" / "ranvier" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    named = {}
    for node in block.body:
        module = importlib.import_module(node.module)
        named |= {alias.name: getattr(module, alias.name) for alias in node.names}
    assert {"Network", "Linear", "StepLR", "onnx"} <= named.keys()
    assert set(ranvier.__all__) - named.keys() <= {
        "__version__",
        "cpu_info",
        "kernels",
        "num_threads",
        "set_num_threads",
    }
    for name, value in named.items():
        assert getattr(ranvier, name) is value, name
        assert name in dir(ranvier), name


@pytest.mark.parametrize("name", ["Nothing", "nothing", "__main__", "_private"])
def test_names_that_are_not_there(name):
    with pytest.raises(AttributeError, match=f"module 'ranvier' has no attribute '{name}'"):
        getattr(ranvier, name)


# Folder of cpp/ (or the public header's name): the storey that it belongs to.
STOREYS = {"platform": 1, "kernels": 2, "nn": 3, "bindings": 4}
HEADERS = {
    1: {"array", "cpu", "memory", "random", "sizes", "threads"},
    2: {
        "activation",
        "augment",
        "conv2d",
        "elementwise",
        "loss",
        "matmul",
        "normalization",
        "optimizer",
        "peak",
        "pool2d",
        "recurrent",
        "upsample",
        "softmax",
    },
    3: {"layers", "observer", "parameters", "peers", "predictor", "profile", "shared_ranks", "trainer"},
}
HEADER_STOREY = {name: storey for storey, names in HEADERS.items() for name in names}


def storey_of(path):
    parts = path.relative_to(ROOT / "cpp").parts
    return HEADER_STOREY[path.stem] if parts[0] == "include" else STOREYS[parts[0]]


@pytest.mark.parametrize("path", sorted((ROOT / "cpp").rglob("*.[ch]*")), ids=lambda path: str(path.relative_to(ROOT)))
def test_includes_go_down(path):
    for include in re.findall(r'#include "([^"]+)"', path.read_text()):
        if include == "isa_tables.inc":
            continue
        name = include.split("/")[-1].removesuffix(".h")
        target = HEADER_STOREY[name] if include.startswith("ranvier/") else storey_of((path.parent / include).resolve())
        assert target <= storey_of(path), f"{path} includes {include}"


def test_only_its_team_knows_openmp():
    users = [
        path.name for path in (ROOT / "cpp").rglob("*.[ch]*") if re.search(r"omp\.h|#pragma omp", path.read_text())
    ]
    assert users == ["openmp_team.cpp"]


def test_only_the_bindings_know_python():
    users = {
        path.relative_to(ROOT / "cpp").parts[0]
        for path in (ROOT / "cpp").rglob("*.[ch]*")
        if re.search(r"pybind11|Python\.h", path.read_text())
    }
    assert users == {"bindings"}
