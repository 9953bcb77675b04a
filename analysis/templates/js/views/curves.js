// A trial's training curves: losses, accuracies, sparsity and multipliers over the epochs, in small plots one below the other.
const CURVE_PX = 132;

function curvePart(row) {
  const trial = report.curves.trials?.[row];
  if (!trial) return report.curves.trials ? curveHint() : null;
  const part = element("section");
  const plot = element("div", null, "curves");
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", `Curves of trial ${cell("trial_id", row)} over ${trial.epochs.length} epochs`);
  part.append(element("h3", "Over the epochs"), plot);
  requestAnimationFrame(() => plot.isConnected && drawCurves(plot, trial));
  return part;
}

function curveHint() {
  const part = element("section");
  part.append(element("h3", "Over the epochs"));
  part.append(element("p", "Its curves are not on this page: it holds those of the trials nearest to the front. epochs.parquet has all of them.", "hint"));
  return part;
}

// Each task has its own colour, and sparsity has the text colour; dashed lines show training data.
function drawCurves(plot, trial) {
  const [ink, muted, line] = ["--ink", "--muted", "--line"].map(themed);
  const panels = [...new Set(report.curves.lines.map((one) => one.panel))];
  const height = 1 / panels.length;
  const font = { family: "system-ui, sans-serif", size: 11, color: ink };
  const layout = { font, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "x", margin: { l: 46, r: 8, t: 6, b: 34 }, shapes: [] };
  layout.hoverlabel = { bgcolor: themed("--card"), bordercolor: muted, font };
  const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, color: muted, nticks: 5 };
  layout.xaxis = { ...axis, title: { text: "epoch", standoff: 4 }, anchor: panels.length > 1 ? `y${panels.length}` : "y", zeroline: false };
  panels.forEach((panel, i) => {
    const [suffix, top] = [i ? i + 1 : "", 1 - i * height];
    const isShare = /accuracy|rate/.test(panel);
    const range = panel === "Sparsity rate" ? { range: [-0.02, 1] } : { rangemode: isShare ? "normal" : "tozero" };
    layout[`yaxis${suffix}`] = { ...axis, domain: [top - height * 0.74, top - height * 0.2], tickformat: isShare ? ".0%" : "~g", zeroline: false, ...range };
    layout[`legend${suffix}`] = { orientation: "h", x: 0, xanchor: "left", y: top, yanchor: "top", font: { ...font, size: 10 }, bgcolor: "rgba(0,0,0,0)", title: { text: `<b>${panel}</b> ` } };
  });
  if (trial.retrain !== null) layout.shapes.push({ type: "line", xref: "x", yref: "paper", x0: trial.retrain - 0.5, x1: trial.retrain - 0.5, y0: 0, y1: 1, line: { width: 1, dash: "dot", color: muted } });
  const traces = report.curves.lines.map((one, i) => curveTrace(one, trial.epochs, trial.values[i], panels.indexOf(one.panel), ink));
  plot.style.height = `${CURVE_PX * panels.length + 30}px`;
  Plotly.newPlot(plot, traces, layout, { ...plotConfig, displayModeBar: false });
}

function curveTrace(one, epochs, values, panel, ink) {
  const suffix = panel ? panel + 1 : "";
  const color = one.task < 0 ? ink : report.palette.colours[one.task % report.palette.colours.length];
  return {
    type: "scatter", mode: values.length > 1 ? "lines" : "markers", x: epochs, y: values, name: escaped(one.name),
    yaxis: `y${suffix}`, legend: `legend${suffix}`, line: { width: 1.6, color, dash: one.dashed ? "dot" : "solid" }, marker: { color },
  };
}

// Plotly interprets names as markup.
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
