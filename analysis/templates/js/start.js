// Connects each control to the choice that it changes, then draws everything once.
const finite = (name) => Array.from({ length: report.n_points }, (_, row) => cell(name, row)).filter((value) => value !== null);
const greatest = (values) => values.reduce((a, b) => Math.max(a, b), 0);

// `curve` > 1 gives small values most of the slider's range.
function wireSlider(id, key, low, high, factor, curve) {
  const [range, field] = [document.getElementById(`${id}-range`), document.getElementById(id)];
  if (!(high > low)) {
    range.closest(".control").hidden = true;
    return () => {};
  }
  const toField = (value) => { field.value = value <= low && low > 0 ? 0 : Number((value * factor).toPrecision(6)); };
  const toRange = (value) => { range.value = 1000 * Math.min(1, Math.max(0, (value - low) / (high - low))) ** (1 / curve); };
  const initial = choice[key];
  range.addEventListener("input", () => {
    const place = Number(range.value) / 1000;
    choice[key] = place === 0 ? 0 : place === 1 ? high : low + (high - low) * place ** curve;
    toField(choice[key]);
    refresh();
  });
  field.addEventListener("input", () => {
    choice[key] = Math.max(0, Number(field.value) / factor || 0);
    toRange(choice[key]);
    refresh();
  });
  const reset = () => {
    choice[key] = initial;
    toField(initial);
    toRange(initial);
  };
  reset();
  return reset;
}

function wireSelect(id, options, apply) {
  const control = document.getElementById(id);
  for (const [value, text] of options) control.append(Object.assign(element("option", text), { value }));
  control.addEventListener("change", () => {
    apply(control.value);
    refresh();
  });
  control.closest(".control").hidden = false;
}

function wireControls() {
  const accuracies = finite("accuracy.validation.mean");
  const floor = accuracies.reduce((a, b) => Math.min(a, b), 1);
  const resets = [
    wireSlider("eps", "eps", 0, greatest(finite("slack").concat(report.eps)), 1, 3),
    wireSlider("accuracy", "accuracy", floor, greatest(accuracies), 100, 0.5),
    wireSlider("sparsity", "sparsity", 0, greatest(finite("sparsity_rate")), 100, 1),
  ];
  const studies = Array.isArray(report.columns.study) ? [...new Set(finite("study").map(String))] : [];
  if (studies.length > 1) wireSelect("study", [["", "all"], ...studies.map((name) => [name, name])], (value) => { choice.study = value; });
  if (colourings.length) {
    wireSelect("colour", [["cluster", report.has_sparsity ? "sparsity cluster" : "one colour"], ...colourings.map((one) => [one.key, one.title])], (value) => {
      choice.colour = value;
      choice.hidden.clear();
      drawLegend();
    });
  }
  const named = (columns) => columns.map((column) => [column, plainText(report.titles[column])]);
  const first = report.views[0].axes;
  if (report.planar.length > 2) {
    for (const axis of ["x", "y"]) {
      wireSelect(`axis-${axis}`, named(report.planar), (value) => { choice.axes[axis] = value; });
      document.getElementById(`axis-${axis}`).value = first[axis];
    }
  }
  if (first.z !== undefined) {
    wireSelect("axis-z", named(report.heights), (value) => { choice.axes.z = value; });
    document.getElementById("axis-z").value = first.z;
    document.getElementById("plane-control").hidden = false;
  }
  document.getElementById("plane").addEventListener("change", (event) => {
    choice.plane = event.target.value;
    refresh();
  });
  const form = document.getElementById("controls");
  form.hidden = !form.querySelector(".control:not([hidden])");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    form.querySelectorAll("select").forEach((control) => { control.selectedIndex = 0; });
    Object.assign(choice, { study: "", colour: "cluster", axes: {}, plane: "projection" });
    for (const axis of ["x", "y", "z"]) if (first[axis] !== undefined) document.getElementById(`axis-${axis}`).value = first[axis];
    choice.hidden.clear();
    resets.forEach((reset) => reset());
    drawLegend();
    refresh();
  });
}

// Plots do not inherit the page's colours, so they are redrawn when these change.
function recolour() {
  if (report.views.length) drawLegend();
  refresh();
  drawSecond();
  drawConflict();
  drawIndicators();
  drawRealSize();
}

// Only a part of a very large sweep is embedded, and every count says so.
const leftOut = (n) => (n > 0 ? `; ${n.toLocaleString("en")} more are not on this page` : "");

function refresh() {
  if (report.views.length) {
    drawViews();
    drawClusters();
    document.getElementById("shown").textContent = 
      `${shownRows().length} of ${report.n_points} points shown${leftOut(report.n_finished - report.n_points)}`;
  }
  if (document.getElementById("only-shown").checked) list();
}

if (report.views.length) {
  wireControls();
  drawLegend();
} else document.getElementById("only-shown").closest("label").hidden = true;
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
drawHeader();
list();
drawConflict();
refresh();
drawSecond();
drawIndicators();
drawRealSize();
document.getElementById("search").addEventListener("input", () => { listing.page = 0; list(); });
document.getElementById("only-shown").addEventListener("change", () => { listing.page = 0; list(); });
document.getElementById("csv").addEventListener("click", downloadCsv);
document.getElementById("previous").addEventListener("click", () => { listing.page -= 1; drawRows(); });
document.getElementById("next").addEventListener("click", () => { listing.page += 1; drawRows(); });
document.getElementById("close-detail").addEventListener("click", closeDetail);
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !document.getElementById("detail").hidden) closeDetail(); });
