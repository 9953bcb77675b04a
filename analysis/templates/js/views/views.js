// The views: Python sends figures without points; the points that pass the filters are filled in here.
const plotConfig = {
  displaylogo: false, showSendToCloud: false, plotlyServerURL: "", responsive: true, scrollZoom: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "toggleSpikelines", "hoverClosestCartesian", "hoverCompareCartesian", "hoverClosest3d", "resetCameraLastSave3d"],
};
const themed = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const tracesOf = { space: pointTraces, plane: pointTraces, parallel: parallelTraces, matrix: matrixTraces };

function drawViews() {
  report.views.forEach((view, i) => {
    draw(document.getElementById(`view-${i}`), (plot) => {
      const traces = tracesOf[view.kind](view);
      return { traces, layout: themedLayout(view, traces, plot) };
    }, openOnClick);
  });
}

function openOnClick(plot) {
  plot.on("plotly_click", (event) => {
    const row = event.points[0].customdata;
    if (Number.isInteger(row)) select(row, plot);
  });
}

function pointTraces(view) {
  const axes = axesOf(view);
  const stairs = view.kind === "plane" && choice.plane === "staircase";
  const candidates = stairs ? planarFronts(view, axes) : null;
  const leftOut = leftOutRows(view, axes);
  const traces = tracesBy(view).map((trace) => {
    const rows = trace.rows.filter((row) => !leftOut.has(row) && (stairs ? candidates[cell("group", row)].has(row) : isShown(row)));
    return placed({ ...trace, rows: undefined, marker: inked(trace) }, rows, axes);
  });
  if (stairs) for (const [group, rows] of Object.entries(candidates)) traces.push(staircase(group, [...rows], axes));
  if (selectedPoint()) traces.push(ring(view, axes));
  const exact = exactTrace(axes, view.kind === "space");
  return exact ? [exact, ...traces] : traces;
}

// The norms of dense models would stretch the height of the 3-D view; Python hides them there too.
function leftOutRows(view, axes) {
  const traces = axes.z === "objective.sparsity" ? view.traces.filter((trace) => trace.visible === "legendonly") : [];
  return new Set(traces.flatMap((trace) => trace.rows));
}

function placed(trace, rows, axes) {
  trace.visible = true;
  for (const axis of Object.keys(axes)) trace[axis] = rows.map((row) => cell(axes[axis], row));
  return { ...trace, customdata: rows, hovertext: rows.map((row) => report.hover[row]) };
}

// The selected trial is marked even if the filters drop it.
const selectedPoint = () => choice.selected !== null && choice.selected < report.n_points;

const inked = (trace) => (trace.meta.group === "dense" ? { ...trace.marker, color: themed("--ink") } : trace.marker);

function ring(view, axes) {
  const space = view.kind === "space";
  const marker = { symbol: "circle-open", size: space ? 12 : 18, color: themed("--accent"), line: { width: 3, color: themed("--accent") } };
  const trace = { type: space ? "scatter3d" : "scatter", mode: "markers", marker, showlegend: false, name: "selected" };
  return { ...placed(trace, [choice.selected], axes), hoverinfo: "skip" };
}

function axesOf(view) {
  const axes = {};
  for (const axis of Object.keys(view.axes)) axes[axis] = choice.axes[axis] ?? view.axes[axis];
  return axes;
}

// The exact front of the two losses drawn, over all points that pass the other filters; eps plays no role.
function planarFronts(view, axes) {
  const fronts = {};
  const rows = new Set(view.traces.flatMap((trace) => trace.rows).filter(passes));
  for (const group of ["dense", "sparse"]) {
    const members = [...rows].filter((row) => cell("group", row) === group);
    const value = (axis, row) => sense(axes[axis]) * cell(axes[axis], row);
    members.sort((a, b) => value("x", a) - value("x", b) || value("y", a) - value("y", b));
    const front = [];
    for (const row of members) {
      const last = front[front.length - 1];
      const equal = last !== undefined && value("x", last) === value("x", row) && value("y", last) === value("y", row);
      if (last === undefined || equal || value("y", row) < value("y", last)) front.push(row);
    }
    fronts[group] = new Set(front);
  }
  return fronts;
}

const sense = (column) => (report.objectives.some((o) => o.column === column && o.sense === "max") ? -1 : 1);

function staircase(group, rows, axes) {
  const color = themed(group === "dense" ? "--ink" : "--muted");
  const trace = { type: "scatter", mode: "lines", line: { shape: "hv", width: 1.5, color }, showlegend: false };
  return { ...placed(trace, rows, axes), hoverinfo: "skip", hovertext: undefined };
}

// Axis titles extend beyond the cube, so a narrow screen gets a smaller cube.
function fitNarrow(scene, plot) {
  const share = Math.min(1, plot.clientWidth / 520);
  for (const axis of ["x", "y", "z"]) scene.aspectratio[axis] *= share;
}

function themedLayout(view, traces, plot) {
  const layout = structuredClone(view.layout);
  const [ink, muted, line] = ["--ink", "--muted", "--line"].map(themed);
  const axisStyle = { gridcolor: line, zerolinecolor: line, linecolor: line, color: muted };
  Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true });
  layout.font = { family: "system-ui, sans-serif", size: 12, color: ink };
  layout.hoverlabel = { bgcolor: themed("--card"), bordercolor: muted, font: { color: ink, family: "system-ui, sans-serif" }, align: "left" };
  layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink };
  layout.showlegend = false;
  layout.margin = view.kind === "space" ? { l: 0, r: 0, t: 0, b: 0 } : { l: 60, r: 16, t: view.kind === "matrix" ? 8 : 30, b: 48 };
  if (view.kind === "space") fitNarrow(layout.scene, plot);
  if (view.kind === "parallel" && plot.clientWidth < 150 * view.columns.length) layout.xaxis.ticktext = view.columns.map((column) => report.names[column]);
  const axes = axesOf(view);
  const host = view.kind === "space" ? layout.scene : layout;
  for (const name of Object.keys(host).filter((key) => /^[xyz]axis\d*$/.test(key))) {
    Object.assign(host[name], axisStyle, view.kind === "space" ? { showbackground: false, showspikes: false } : { automargin: true });
    const column = axes[name[0]];
    if (column === undefined) continue;
    const title = report.titles[column];
    host[name].title = { ...host[name].title, text: view.kind === "space" && plot.clientWidth < 520 ? title.replace(/ \(.*\)$/, "") : title };
    host[name].tickformat = column === "sparsity_rate" ? ".0%" : "~g";
  }
  if (!traces.some((trace) => trace.customdata.length && trace.name !== "selected")) {
    layout.annotations = [{ text: "No point passes the filters", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5, font: { size: 14, color: muted } }];
  }
  return layout;
}
