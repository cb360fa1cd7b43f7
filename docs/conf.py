"""How Sphinx builds the documentation: ``sphinx-build -W -n docs build/docs``."""

import inspect
import logging
import re
from typing import Any

import ranvier

project = "Ranvier"
copyright = "2026, the Ranvier developers"
release = version = ranvier.__version__

extensions = ["sphinx.ext.autodoc", "numpydoc", "myst_parser"]
html_theme = "furo"
html_title = f"Ranvier {release}"
nitpicky = True

# `name` in a docstring is a link.
default_role = "py:obj"
# The docstrings give types and shapes; annotations would say it twice.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
myst_heading_anchors = 3

# There may be no lessons yet. The warning has no type by which suppress_warnings could name it.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: not str(record.msg).startswith("toctree glob pattern")
)


def plain_signature(_app: Any, _what: str, _name: str, value: Any, *_: Any) -> tuple[str, str] | None:
    """Return the signature of a compiled function as its docstring has it, without pybind11's annotations."""
    if not inspect.isbuiltin(value):
        return None
    arguments = (value.__doc__ or "").partition("\n")[0].partition("(")[2].rpartition(")")[0]
    plain = re.sub(r": [\w.]+(?: \| [\w.]+)*", "", arguments).replace(" = ", "=")
    return f"({plain})", ""


def setup(app: Any) -> None:
    """Connect the above, before numpydoc's own function."""
    app.connect("autodoc-process-signature", plain_signature, priority=400)
