"""Names as plotly shows them: its titles, legends and hover texts are a little HTML of its own."""

import html


def as_text(name: object) -> str:
    """A name in which nothing is markup; quotes stay, as plotly knows no name for them."""
    return html.escape(str(name), quote=False)
