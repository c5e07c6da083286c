"""exp, sigmoid and tanh of vectors, and the gate product that shares a division.

All of them rest on one reduction.  With n the integer next to -x / ln(2) and r = x + n * ln(2)::

    exp(-x) = 2**n * exp(-r)        exp(-r) = 1 - r + r**2 * q(r)        |r| <= ln(2) / 2

n comes from a sum with 1.5 * 2**(mantissa bits): that rounds to an integer and leaves it in the low bits of
the sum, from where a shift moves it to the exponent field.  No conversion, no change of the rounding mode.

The functions assume the kernels' floating-point mode: denormal numbers, read or made, count as zero
(``float_mode.flush_denormals``).  The bounds hold in that mode for every input, with or without fused multiply-add.
``tools/fit_activations.py`` derives the constants, ``tests/exhaustive_activations.py`` measures the bounds.
"""

from __future__ import annotations

from typing import Any

from ...simd.jit import inner
from ...simd.vectors import (
    absolute,
    add,
    add_exponent,
    copysign,
    div,
    fma,
    mul,
    negate,
    polynomial,
    power_of_two,
    sub,
    where_greater,
)

_Q = {
    32: (
        0.0013862412888556719,
        -0.008366675116121769,
        0.041667524725198746,
        -0.16666541993618011,
        0.4999999701976776,
    ),
    64: (
        -2.505712585771943e-08,
        2.7626267965548724e-07,
        -2.755739662548985e-06,
        2.480150459110127e-05,
        -0.00019841269731653646,
        0.0013888888932266797,
        -0.00833333333338349,
        0.041666666666573884,
        -0.166666666666666,
        0.5000000000000006,
    ),
}
"""q by the bits of the dtype, highest power first."""


def _constant(single: float, double: float) -> Any:
    """Return a function that gives a number, by dtype, as a vector like its argument."""
    return polynomial({32: (single,), 64: (double,)})


_q = polynomial(_Q)
_exp_minus = polynomial({bits: (*q, -1.0, 1.0) for bits, q in _Q.items()})

_zero = _constant(0.0, 0.0)
_half = _constant(0.5, 0.5)
_one = _constant(1.0, 1.0)
_two = _constant(2.0, 2.0)
_infinity = _constant(float("inf"), float("inf"))
_log2_e = _constant(1.4426950216293335, 1.4426950408889634)
_minus_log2_e = _constant(-1.4426950216293335, -1.4426950408889634)
_ln2 = _constant(0.6931471824645996, 0.6931471805599453)
_ln2_high = _constant(0.693145751953125, 0.693147180559663)  # few bits, so that n times it is exact
_ln2_low = _constant(1.428606765330187e-06, 2.8235290563031577e-13)
_round = _constant(1.5 * 2.0**23, 1.5 * 2.0**52)
_round_biased = _constant(1.5 * 2.0**23 + 127, 1.5 * 2.0**52 + 1023)

# 1 / exp(88) is a denormal number, so that sigmoid is 0 from -88 down; 2 * exp(88) is still finite.
_sigmoid_lowest = _constant(-88.0, -709.0)
# exp(-87) is still a normal number, and nothing next to 1.
_sigmoid_highest = _constant(87.0, 708.0)
# tanh is 1 in working precision from here on.
_tanh_highest = _constant(10.0, 20.0)
# exp gives a normal number from the first on, and overflows from the second on.
_exp_lowest = _constant(-87.33654022216797, -708.3964185322641)
_exp_overflow = _constant(88.72283935546875, 709.7827128933841)


@inner
def _reduce(x, counter, offset):
    """Return n = counter - offset and r."""
    n = sub(counter, offset)
    return n, fma(n, _ln2_low(x), fma(n, _ln2_high(x), x))


@inner
def _one_plus_exp_minus(x):
    """Return 1 + exp(-x), at most half of the largest number.

    The scale 2**n comes in as a factor: an addition to the exponent field of a NaN could end in a number.
    """
    # Operands in this order, so that NaN passes.
    x = where_greater(x, _sigmoid_highest(x), _sigmoid_highest(x), x)
    x = where_greater(_sigmoid_lowest(x), x, _sigmoid_lowest(x), x)
    counter = fma(x, _minus_log2_e(x), _round_biased(x))
    _, r = _reduce(x, counter, _round_biased(x))
    return fma(_exp_minus(r), power_of_two(counter), _one(x))


@inner
def _expm1_minus_twice(x):
    """Return expm1(-2 * |x|), with a small relative error near 0 as well.

    ln(2) needs no second part here: its error acts like a change of x by a fraction of a ULP.
    """
    x = absolute(x)
    x = where_greater(x, _tanh_highest(x), _tanh_highest(x), x)
    x = add(x, x)
    counter = fma(x, _minus_log2_e(x), _round_biased(x))
    r = fma(sub(counter, _round_biased(x)), _ln2(x), x)
    scale = power_of_two(counter)
    return fma(scale, fma(mul(r, r), _q(r), negate(r)), sub(scale, _one(x)))


@inner
def expm1_minus(x):
    """Return exp(-|x|) - 1, to a few ULP."""
    return _expm1_minus_twice(mul(_half(x), x))


@inner
def exp(x):
    """Return exp(x).

    Parameters
    ----------
    x : Vector
        float32 or float64.

    Returns
    -------
    Vector
        At most 1.25 ULP from the exact value.  inf where it overflows; 0 where it is below the smallest
        normal number; NaN for NaN.
    """
    n, r = _reduce(negate(x), fma(x, _log2_e(x), _round(x)), _round(x))
    # By addition to the exponent, because 2**n alone overflows at the upper end.
    value = add_exponent(_exp_minus(r), add(n, _round(x)))
    value = where_greater(_exp_lowest(x), x, _zero(x), value)
    too_large = mul(x, _infinity(x))  # inf, or NaN from NaN
    return where_greater(_exp_overflow(x), x, value, too_large)


@inner
def sigmoid(x):
    """Return the logistic function, 1 / (1 + exp(-x)).

    Parameters
    ----------
    x : Vector
        float32 or float64.

    Returns
    -------
    Vector
        At most 2.5 ULP from the exact value.  1 at inf; 0 at -inf and where the value is below the smallest
        normal number; NaN for NaN.
    """
    return div(_one(x), _one_plus_exp_minus(x))


@inner
def tanh(x):
    """Return the hyperbolic tangent.

    Parameters
    ----------
    x : Vector
        float32 or float64.

    Returns
    -------
    Vector
        At most 3 ULP from the exact value, near 0 as well.  Zeros keep their sign, +-1 at +-inf, NaN for NaN.
    """
    m = _expm1_minus_twice(x)
    return copysign(div(m, add(m, _two(x))), x)


@inner
def sigmoid_times_tanh(x, y):
    """Return sigmoid(x) * tanh(y) with one division.

    With m = expm1(-2 * |y|) that is -m / ((m + 2) * (1 + exp(-x))), with the sign of y.  The denominator is
    finite for every x and y.

    Parameters
    ----------
    x, y : Vector
        float32 or float64, of one type.

    Returns
    -------
    Vector
        At most 6 ULP from the exact product.  Infinities count as in the two functions: 0 at (-inf, inf).
        0 where the product is below the smallest normal number; NaN where x or y is NaN.
    """
    m = _expm1_minus_twice(y)
    return copysign(div(m, mul(add(m, _two(y)), _one_plus_exp_minus(x))), y)


@inner
def product_and_factors(x, y):
    """Return sigmoid(x) * tanh(y), with the bits of ``sigmoid_times_tanh``, then sigmoid(x) and tanh(y)."""
    m, denominator = _expm1_minus_twice(y), _one_plus_exp_minus(x)
    rest = add(m, _two(y))
    product = copysign(div(m, mul(rest, denominator)), y)
    return product, div(_one(x), denominator), copysign(div(m, rest), y)
