#!/usr/bin/env python3
"""Check that no object of a per-instruction-set library defines a symbol outside its own namespace.

    python cmake/check_isa_symbols.py BUILD_FOLDER

The sources of cpp/kernels/isa are compiled once for each instruction set. A function of another namespace
that such an object defines (an inline function, a template of the standard library) may be the copy that the
linker keeps for the whole program, and an older processor would then meet instructions that it does not
have. So every symbol that other objects can see must lie in the namespace ranvier::<instruction set>, except
the pointers DW.ref.* by which exception tables refer to a function of the runtime.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def own_symbol(isa: str) -> re.Pattern[str]:
    """Match the mangled names of what namespace ranvier::<isa> defines (Itanium C++ ABI, 5.1.2).

    Z precedes what is local to a function, T and G precede tables of a class and guards of a variable; a
    nested name may carry qualifiers. Mach-O adds an underscore to each name.
    """
    return re.compile(rf"_?_Z(?:T[VTIS]|G[VR])?Z?N[rVKRO]*7ranvier{len(isa)}{re.escape(isa)}(?=\d|L|I|E)")


def visible_definitions(path: Path) -> list[tuple[str, str]]:
    """Return (mangled name, nm's type letter) of each external or weak symbol that an object file defines."""
    listing = subprocess.run(
        ["nm", "-g", "-P", "--defined-only", str(path)], check=True, capture_output=True, text=True
    ).stdout
    return [(fields[0], fields[1]) for fields in map(str.split, listing.splitlines()) if len(fields) >= 2]


def demangled(name: str) -> str:
    """Return the name as C++ spells it."""
    return subprocess.run(["c++filt", name], check=True, capture_output=True, text=True).stdout.strip()


def main() -> int:
    """Check every object of the build folder; 1 if a symbol strays, 2 if there is no object."""
    build = Path(sys.argv[1])
    objects: dict[str, list[Path]] = {}
    for path in sorted(build.glob("CMakeFiles/ranvier_*.dir/cpp/kernels/isa/*.o")):
        isa = path.relative_to(build).parts[1].removeprefix("ranvier_").removesuffix(".dir")
        objects.setdefault(isa, []).append(path)
    if not objects:
        print(f"{build}: expected the objects of CMakeFiles/ranvier_<isa>.dir, found none", file=sys.stderr)
        return 2
    strays = [
        f"{path.relative_to(build)}: {demangled(name)} ({kind}) is outside namespace ranvier::{isa}"
        for isa, paths in objects.items()
        for path in paths
        for name, kind in visible_definitions(path)
        if not own_symbol(isa).match(name) and not name.startswith("DW.ref.")
    ]
    print("\n".join(strays) or f"{sum(map(len, objects.values()))} objects of {', '.join(objects)}: clean")
    return 1 if strays else 0


if __name__ == "__main__":
    sys.exit(main())
