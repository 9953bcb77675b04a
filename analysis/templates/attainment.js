// The attainment surfaces come ready from Python; here they get their size and the page's colours.
function drawAttainment() {
  const plot = document.getElementById("attainment-figure");
  if (!plot || !report.attainment) return;
  const [ink, muted, line] = ["--ink", "--muted", "--line"].map(themed);
  const layout = structuredClone(report.attainment.layout);
  const font = { family: "system-ui, sans-serif", size: 12, color: ink };
  Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true, font });
  layout.hoverlabel = { bgcolor: themed("--card"), bordercolor: muted, font, align: "left" };
  layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink };
  for (const name of ["xaxis", "yaxis"]) Object.assign(layout[name], { gridcolor: line, zerolinecolor: line, linecolor: line, color: muted, automargin: true });
  Plotly.react(plot, structuredClone(report.attainment.traces), layout, plotConfig);
}
