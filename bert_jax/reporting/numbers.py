"""Numbers formatted for reading."""

import math

PREFIXES = ((1e9, "B"), (1e6, "M"), (1e3, "k"))


def compact(value: float) -> str:
    """Three significant digits with a unit prefix: 950, 12.3k, 5.41M, 1.20B."""
    if not math.isfinite(value):
        return "–"
    for size, letter in PREFIXES:
        if abs(value) >= size * 0.9995:  # 999,500 reads 1.00M, never 1000k
            return f"{_three_digits(value / size)}{letter}"
    return f"{value:,.0f}" if float(value).is_integer() else _three_digits(value)


def short(value: float) -> str:
    """A round number, as on an axis, with a unit prefix and no more digits than it has: 7.5k, 10k."""
    for size, letter in PREFIXES:
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _three_digits(value: float) -> str:
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{digits}f}"


def whole(value: float) -> str:
    """A count in full with thousands separators: 12,345."""
    return f"{value:,.0f}" if math.isfinite(value) else "–"


def decimals(value: float, digits: int) -> str:
    """A fixed number of decimals, with a real minus sign."""
    return f"{value:,.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def percent(share: float) -> str:
    """A share as a percentage: 42.3%, 0.04%."""
    if not math.isfinite(share):
        return "–"
    return f"{100 * share:.2f}%" if 0 < abs(share) < 0.001 else f"{100 * share:.1f}%"


def duration(seconds: float) -> str:
    """Two units at most: 850 ms, 42 s, 8 min 20 s, 2 h 5 min, 3 d 4 h."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    for size, unit, part, part_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        parts = round(seconds / part)
        if parts * part >= size:
            units, rest = divmod(parts, size // part)
            return f"{units} {unit} {rest} {part_unit}" if rest else f"{units} {unit}"
    return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"


def ratio(value: float) -> str:
    """A small positive number such as a learning rate: 0.0018, 5e-5."""
    return f"{value:.3g}".replace("e-0", "e-") if math.isfinite(value) else "–"
