"""Numbers as text."""

import pytest

from analysis.formatting import energy_text, preference_text, significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.000012345, "0.0000123"),
        (0.04567, "0.0457"),
        (0.05, "0.05"),
        (3.14159, "3.14"),
        (200.0, "200"),
        (999.6, "1,000"),
        (12345.6, "12,346"),
    ],
)
def test_a_number_has_three_digits_and_no_power_of_ten(value: float, text: str) -> None:
    assert significant(value) == text


def test_an_energy_is_in_wh_below_a_tenth_of_a_kwh() -> None:
    assert [energy_text(kwh) for kwh in (0.00025, 0.04, 0.099, 0.1, 20.0)] == ["0.25 Wh", "40 Wh", "99 Wh", "0.1 kWh", "20 kWh"]


def test_a_preference_has_four_digits_and_a_mark_for_an_entry_that_a_damaged_row_lacks() -> None:
    assert preference_text([0.02, None, 0.98765]) == "(0.02, ?, 0.9877)"
    assert preference_text((0.0, 0.25, 0.75), has_sparsity=False) == "(0.25, 0.75)"
    assert [preference_text(k) for k in (None, float("nan"))] == ["none", "none"]
