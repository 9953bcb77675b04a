"""How a preference vector reads on a terminal."""

from sweep.monitor.progress import k_text


def test_a_number_that_a_damaged_row_lacks_is_no_error() -> None:
    assert k_text([0.02, None, 0.98765]) == "(0.02, ?, 0.9877)"
