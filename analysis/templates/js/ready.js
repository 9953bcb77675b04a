// Figures that Python has finished; this script sets their size and the page's colours.
function drawReady(name, spec = report.figures[name]) {
  const plot = document.getElementById(`${name}-figure`);
  if (!plot || !spec) return null;
  const [ink, muted, line] = ["--ink", "--muted", "--line"].map(themed);
  const layout = structuredClone(spec.layout);
  const font = { family: "system-ui, sans-serif", size: 12, color: ink };
  Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true, font, margin: { ...layout.margin, t: 70 } });  // the buttons stand above the panels' titles
  layout.hoverlabel = { bgcolor: themed("--card"), bordercolor: muted, font, align: "left" };
  layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
    Object.assign(layout[name], { gridcolor: line, zerolinecolor: line, linecolor: line, color: muted, automargin: true, nticks: 6 });
  }
  plot.style.setProperty("--panels", spec.n_panels);
  Plotly.react(plot, structuredClone(spec.traces), layout, plotConfig);
  return plot;
}

const drawConflict = () => drawReady("conflict");
const drawIndicators = () => drawReady("indicators");

function drawSecond() {
  const plot = drawReady("second");
  if (plot && !plot.dataset.ready) {
    plot.dataset.ready = "yes";
    plot.on("plotly_click", (event) => {
      const row = [...Array(report.n_points).keys()].find((one) => cell("trial_id", one) === event.points[0].customdata);
      if (row !== undefined) select(row, plot);
    });
  }
}
