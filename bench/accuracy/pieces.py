#!/usr/bin/env python3
"""Print the tables of cpp/platform/simd_pieces.h: polynomials for pieces of tanh and of the normal distribution.

    python bench/accuracy/pieces.py        (needs mpmath)

Piece k has its centre at k STEP. Its polynomial interpolates the function at the Chebyshev nodes; that of tanh
around zero is odd, so that the error is relative there, and the last one is 1. A comment after each table gives the
largest relative error before the coefficients are rounded.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import mpmath as mp

PIECES = 32
TANH_STEP, TANH_DEGREE = mp.mpf(37) / 128, 6
TAIL_STEP, TAIL_DEGREE = mp.mpf(131) / 1024, 5


def interpolate(f: Callable, nodes: list, powers: list[int], degree: int) -> list:
    """Return the coefficients of the polynomial of these powers that is f at the nodes."""
    matrix = mp.matrix([[x**p for p in powers] for x in nodes])
    solution = mp.lu_solve(matrix, mp.matrix([f(x) for x in nodes]))
    coefficients = [mp.mpf(0)] * (degree + 1)
    for p, value in zip(powers, solution, strict=True):
        coefficients[p] = mp.chop(value, 1e-30)  # what is zero, that no denormal number delays a product
    return coefficients


def chebyshev_nodes(count: int) -> list:
    return [mp.cos((2 * i + 1) * mp.pi / (2 * count)) for i in range(count)]


def piece(f: Callable, centre: mp.mpf, half: mp.mpf, degree: int) -> list:
    nodes = [half * x for x in chebyshev_nodes(degree + 1)]
    return interpolate(lambda x: f(centre + x), nodes, list(range(degree + 1)), degree)


def odd_piece(f: Callable, half: mp.mpf, degree: int) -> list:
    """Return an odd polynomial around zero: nodes are those of x^2, and the error is that of f(x) / x."""
    powers = list(range(1, degree + 1, 2))
    nodes = [half * mp.sqrt((x + 1) / 2) for x in chebyshev_nodes(len(powers))]
    return interpolate(f, nodes, powers, degree)


def error(f: Callable, centre: mp.mpf, half: mp.mpf, coefficients: list) -> mp.mpf:
    offsets = [half * mp.mpf(i) / 50 for i in range(-50, 51)]
    points = [(d, f(centre + d)) for d in offsets if centre + d > 0]
    return max(abs(mp.polyval(coefficients[::-1], d) / y - 1) for d, y in points)


def show(name: str, pieces: list[list], worst: mp.mpf) -> None:
    print(f"// clang-format off\nalignas(64) inline constexpr float {name}[][{PIECES}] = {{")
    for row in zip(*pieces, strict=True):
        numbers = ", ".join(f"{float(c):.9g}f" if float(c) % 1 else f"{float(c):.0f}" for c in row)
        print(textwrap.fill(f"{{{numbers}}},", 110, initial_indent="    ", subsequent_indent="     "))
    print(f"}};  // error below {mp.nstr(worst, 2)}\n// clang-format on\n")


def main() -> None:
    mp.mp.dps = 40
    half = TANH_STEP / 2
    tanh = [odd_piece(mp.tanh, half, TANH_DEGREE)]
    tanh += [piece(mp.tanh, k * TANH_STEP, half, TANH_DEGREE) for k in range(1, PIECES - 1)]
    worst = max(error(mp.tanh, k * TANH_STEP, half, c) for k, c in enumerate(tanh))
    show("kTanhPieces", [*tanh, [mp.mpf(1)] + [mp.mpf(0)] * TANH_DEGREE], worst)

    def tail(x: mp.mpf) -> mp.mpf:
        return mp.ncdf(-x)

    half = TAIL_STEP / 2
    tails = [piece(tail, k * TAIL_STEP, half, TAIL_DEGREE) for k in range(PIECES)]
    show("kNormalTailPieces", tails, max(error(tail, k * TAIL_STEP, half, c) for k, c in enumerate(tails)))


if __name__ == "__main__":
    main()
