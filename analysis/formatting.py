"""Numbers as text for people, in one form for the terminal, the report and the tables."""

import math

_LEAST_KWH = 0.1


def significant(value: float) -> str:
    """Write a number with three significant digits and never as a power of ten.

    Args:
        value: finite and >= 0, in any unit.

    Returns:
        Thousands are grouped by commas; trailing zeros behind the decimal point are left out.
    """
    n_decimals = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    text = f"{value:,.{n_decimals}f}"
    return text.rstrip("0").rstrip(".") if n_decimals else text


def energy_text(kwh: float) -> str:
    """Write an energy in kWh, or in Wh below 0.1 kWh.

    Args:
        kwh: finite and >= 0, in kilowatt-hours.
    """
    return f"{significant(kwh)} kWh" if kwh >= _LEAST_KWH else f"{significant(1000 * kwh)} Wh"
