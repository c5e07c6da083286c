"""Derive the constants in ``numba_lstm/kernels/cells/activations.py``, and print them.

    python tools/fit_activations.py

Every function there rests on exp(-r) = 1 - r + r**2 * q(r) for |r| <= ln(2) / 2.  The first two coefficients
are left at 1 and -1, so that expm1(-r) = -r + r**2 * q(r) is as exact near 0 as everywhere else.  q is fitted
by least squares on Chebyshev nodes, with the error relative to expm1(-r), in 60 digits.  The coefficients are
rounded from the lowest power up, and after each rounding the higher ones are fitted again to what it left.

Needs mpmath.
"""

from __future__ import annotations

import mpmath as mp

mp.mp.dps = 60
EDGE = mp.log(2) / 2 * mp.mpf("1.0001")
"""A little more than half of ln(2): n is rounded from an approximate product."""
NODES = [EDGE * mp.cos(mp.pi * (2 * k + 1) / 128) for k in range(64)]


def rounded(number: mp.mpf, bits: int) -> float:
    """Return a number rounded once to a float of ``bits`` bits."""
    mp.mp.prec, before = (24 if bits == 32 else 53), mp.mp.prec
    value = float(+number)
    mp.mp.prec = before
    return value


def quotient(r: mp.mpf) -> mp.mpf:
    """Return q(r) = (expm1(-r) + r) / r**2, r not 0."""
    return (mp.expm1(-r) + r) / r**2


def weight(r: mp.mpf) -> mp.mpf:
    """Return the factor that turns an error of q into one relative to expm1(-r)."""
    return r**2 / abs(mp.expm1(-r))


def fit(count: int, bits: int) -> tuple[list[float], mp.mpf]:
    """Return ``count`` coefficients of q, highest power first, and their largest error relative to expm1."""
    fixed: list[float] = []
    while len(fixed) < count:
        powers = range(len(fixed), count)
        matrix = mp.matrix([[weight(r) * r**k for k in powers] for r in NODES])
        right = mp.matrix([weight(r) * (quotient(r) - mp.polyval(fixed[::-1], r)) for r in NODES])
        fixed.append(rounded(mp.lu_solve(matrix, right)[0], bits))
    grid = [EDGE * k / 2000 for k in range(-2000, 2001) if k]
    error = max(weight(r) * abs(mp.polyval(fixed[::-1], r) - quotient(r)) for r in grid)
    return fixed[::-1], error


def split_ln2(bits: int) -> tuple[float, float]:
    """Return ln(2) in two parts; every exponent n times the first is exact."""
    kept = 15 if bits == 32 else 41  # 24 - 9 and 53 - 12 bits: n has up to 8 and 11 and its product one more
    high = mp.floor(mp.log(2) * 2**kept) / 2**kept
    return float(high), rounded(mp.log(2) - high, bits)


def exp_range(bits: int) -> tuple[float, float]:
    """Return the first number whose exp is normal, and the first whose exp overflows."""
    mantissa, highest = (23, 127) if bits == 32 else (52, 1023)
    found = []
    two = mp.mpf(2)
    for limit in (two ** (1 - highest), two ** (highest + 1) - two ** (highest - mantissa - 1)):
        exact = mp.log(limit)
        step = mp.mpf(2) ** (mp.floor(mp.log(abs(exact), 2)) - mantissa)
        found.append(float(mp.ceil(exact / step) * step))
    return found[0], found[1]


def main() -> None:
    """Print what activations.py holds."""
    for bits, counts in ((32, (4, 5)), (64, (9, 10, 11))):
        ln2 = mp.log(2)
        print(f"float{bits}: log2(e) = {rounded(1 / ln2, bits)}")
        print(f"  ln(2) = {rounded(ln2, bits)}, in two parts {split_ln2(bits)}")
        print(f"  exp is normal and finite in [{exp_range(bits)[0]}, {exp_range(bits)[1]})")
        for count in counts:
            coefficients, error = fit(count, bits)
            print(f"  q of degree {count - 1}, error {mp.nstr(error, 3)} of expm1: {coefficients}")


if __name__ == "__main__":
    main()
