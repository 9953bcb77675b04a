// The exact front of an analytic problem: a backdrop in every view whose axes are objectives, never counted as points of the sweep.
const exactColumns = report.exact.columns;
const hasExact = Object.keys(exactColumns).length > 0;

// Returns null if an axis shows something other than an objective, or if the reader has hidden the front.
function exactTrace(axes, space) {
  if (!hasExact || choice.hidden.has(report.exact.name)) return null;
  const places = Object.entries(axes);
  if (places.some(([, column]) => exactColumns[column] === undefined)) return null;
  const color = themed("--exact");
  const look = report.exact.is_curve
    ? { mode: "lines", line: { width: 1.5, color } }
    : { mode: "markers", marker: { size: space ? 2 : 3, color, opacity: 0.5, line: { width: 0 } } };
  const trace = { type: space ? "scatter3d" : "scatter", name: report.exact.name, showlegend: false, hoverinfo: "skip", customdata: [], ...look };
  for (const [axis, column] of places) trace[axis] = exactColumns[column];
  return trace;
}
