// The section on real size: a finished figure and a table, in which clicking a point or a trial opens the trial.
function drawRealSize() {
  const spec = report.figures["real-size"];
  const traces = spec?.traces.map((trace) => ({ ...trace, marker: inked(trace) }));
  const plot = drawReady("real-size", spec && { ...spec, traces });
  if (!plot || plot.dataset.ready) return;
  plot.dataset.ready = "yes";
  plot.on("plotly_click", (event) => openTrial(event.points[0].customdata, plot));
  document.querySelectorAll("#real-size [data-trial]").forEach((button) => button.addEventListener("click", () => openTrial(button.dataset.trial, button)));
}

function openTrial(id, opener) {
  const row = [...Array(report.n_points).keys()].find((one) => cell("trial_id", one) === id);
  if (row !== undefined) select(row, opener);
}
