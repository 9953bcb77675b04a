"""A figure as one HTML file that opens offline and connects to nothing."""

from pathlib import Path

import plotly.graph_objects as go

from analysis.whole_file import write_whole

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; connect-src 'none'"


def write_figure(figure: go.Figure, path: Path) -> None:
    """Write a figure with plotly's script in it and a policy that forbids connections; a file that is there is replaced in one step.

    Raises:
        WriteError: the file cannot be written.
    """
    config = {"showSendToCloud": False, "displaylogo": False, "responsive": True}
    page = figure.to_html(include_plotlyjs=True, full_html=True, config=config)
    head = f'<head><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    write_whole(path, page.replace("<head>", head, 1).encode("utf-8", "replace"))
