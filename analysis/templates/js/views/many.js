// Views of more than three objectives: all side by side, and every pair.
const MATRIX_POINTS = 2000;

// Each axis covers the values shown; a gap after each trial ends its line.
function parallelTraces(view) {
  const shown = shownRows();
  const scale = view.columns.map((name) => {
    const values = shown.map((row) => cell(name, row));
    const low = values.reduce((a, b) => Math.min(a, b), Infinity);
    const span = values.reduce((a, b) => Math.max(a, b), -Infinity) - low;
    return (row) => (span > 0 ? (cell(name, row) - low) / span : 0.5);
  });
  const traces = tracesBy(view).map((trace) => {
    const rows = trace.rows.filter(isShown);
    return parallelLines({ ...trace, rows: undefined, marker: inked(trace), line: { width: 1, color: inked(trace).color } }, rows, view, scale);
  });
  if (selectedPoint()) {
    const color = themed("--accent");
    const trace = { type: "scatter", mode: "lines+markers", name: "selected", showlegend: false, line: { width: 3, color }, marker: { color, size: 9 } };
    traces.push(parallelLines(trace, [choice.selected], view, scale));
  }
  return traces;
}

function parallelLines(trace, rows, view, scale) {
  const stops = [...view.columns.keys()];
  return {
    ...trace,
    x: rows.flatMap(() => [...stops, null]),
    y: rows.flatMap((row) => [...stops.map((i) => scale[i](row)), null]),
    customdata: rows.flatMap((row) => [...stops.map(() => row), null]),
    hovertext: rows.flatMap((row) => [...stops.map((i) => `${report.hover[row]}<br>${report.titles[view.columns[i]]}: ${number(cell(view.columns[i], row))}`), ""]),
  };
}

// Panels share axes, so that zooming one zooms its row and column. Each panel is one trace with individually coloured points.
function matrixTraces(view) {
  const looks = new Map(tracesBy(view).flatMap((trace) => trace.rows.map((row) => [row, inked(trace)])));
  const rows = nearest(view, shownRows());
  const marker = { size: 5, opacity: 0.9, color: rows.map((row) => looks.get(row).color), symbol: rows.map((row) => looks.get(row).symbol) };
  const traces = [];
  for (let i = 1; i < view.columns.length; i++) {
    for (let j = 0; j < i; j++) {
      const axes = { x: view.columns[j], y: view.columns[i] };
      const panel = { xaxis: j ? `x${j + 1}` : "x", yaxis: i > 1 ? `y${i}` : "y" };
      const points = placed({ type: "scatter", mode: "markers", marker, hoverinfo: "text", showlegend: false }, rows, axes);
      const drawn = [exactTrace(axes, false), points, selectedPoint() ? smallRing(view, axes) : null];
      traces.push(...drawn.filter(Boolean).map((trace) => ({ ...trace, ...panel })));
    }
  }
  return traces;
}

function smallRing(view, axes) {
  const trace = ring(view, axes);
  return { ...trace, marker: { ...trace.marker, size: 12, line: { ...trace.marker.line, width: 2 } } };
}

// Fifteen panels with very many points would freeze the page; the caption says what was left out.
function nearest(view, rows) {
  const isCut = rows.length > MATRIX_POINTS;
  document.getElementById(`view-note-${report.views.indexOf(view)}`).textContent = isCut ? `the ${MATRIX_POINTS} points nearest to the front, of ${rows.length}` : "";
  return isCut ? [...rows].sort((a, b) => cell("slack", a) - cell("slack", b) || a - b).slice(0, MATRIX_POINTS) : rows;
}
