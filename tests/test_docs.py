"""The documentation: the reference has every public name once, and the examples in it are true."""

import argparse
import doctest
import importlib
import pkgutil
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import ranvier
from ranvier import (
    cli,
    datasets,
    diagnostics,
    distributed,
    initializers,
    kernels,
    metrics,
    notes,
    onnx,
    plot,
    sklearn,
    torch,
    tuning,
)

API = Path(__file__).resolve().parents[1] / "docs" / "api"
PAGES = sorted(API.glob("*.rst"))
SOURCE = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
NEEDED = {
    "interchange": ("torch", "onnx", "onnxruntime"),
    "scikit_learn": ("sklearn", "skops"),
    "sklearn": ("sklearn",),
}  # the libraries that examples of a page use
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(ranvier.__path__, "ranvier.")
    if not module.name.endswith("__main__")
)


def documented():
    """Return the full names that the pages document, in order, repetitions included."""
    names = []
    for text in SOURCE.values():
        module = ""
        for directive, argument in re.findall(r"^\.\. (?:py:)?(\w+):: *([\w.]+)", text, re.MULTILINE):
            if directive in {"module", "automodule"}:
                names.append(argument)
            if directive in {"module", "automodule", "currentmodule"}:
                module = argument
            elif directive == "data" or (directive.startswith("auto") and directive != "automodule"):
                names.append(argument if argument.startswith("ranvier.") else f"{module}.{argument}")
    return names


def public_names():
    for module in (
        ranvier,
        kernels,
        datasets,
        initializers,
        plot,
        metrics,
        diagnostics,
        tuning,
        sklearn,
        distributed,
        torch,
        onnx,
        notes,
    ):
        yield module.__name__
        yield from (f"{module.__name__}.{name}" for name in module.__all__)


def resolve(name):
    """Return the object of that full name."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            value = getattr(value, part)
        return value
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("name", sorted(set(public_names())))
def test_reference_has_each_public_name_once(name):
    assert Counter(documented())[name] == 1, f"docs/api/*.rst must document {name} once"


def test_reference_has_only_what_exists():
    for name in documented():
        assert resolve(name) is not None, name


def options(parser):
    """Yield (program, option) for a parser and its commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from options(command)
        else:
            yield from ((parser.prog, option) for option in action.option_strings)


def test_reference_has_each_option_of_the_command_line():
    found = set()
    program = ""
    for directive, argument in re.findall(r"^\.\. (\w+):: (.+)$", SOURCE["command_line"], re.MULTILINE):
        if directive == "program":
            program = argument
        if directive == "option":
            found.update((program, option) for option in re.findall(r"(?<!\S)--?[\w-]+", argument))
    wanted = {
        (program, option)
        for program, option in options(cli._parser())
        if program == "ranvier" or option not in {"-h", "--help"}
    }
    assert found == wanted


@pytest.mark.parametrize("module", ["ranvier", *MODULES])
def test_examples_of_docstrings(module):
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f"could not import what {module} needs: {error}")
    result = doctest.testmod(imported, extraglobs={"np": np, "rv": ranvier})
    assert result.failed == 0


def test_there_are_examples_in_docstrings():
    assert any(test.examples for test in doctest.DocTestFinder().find(ranvier.Network))


@pytest.mark.parametrize("page", [*PAGES, *API.parent.glob("*.rst")], ids=lambda page: page.stem)
def test_examples_of_pages(page):
    for library in NEEDED.get(page.stem, ()):
        pytest.importorskip(library)
    assert doctest.testfile(str(page), module_relative=False, encoding="utf-8").failed == 0
