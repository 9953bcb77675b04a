// One line for each sparsity cluster of the points shown, with its best model on validation data.
const glyphs = { circle: "●", diamond: "◆", square: "■", cross: "✚", "circle-open": "○", "diamond-open": "◇", "square-open": "□" };

function drawClusters() {
  const body = document.querySelector("#clusters tbody");
  if (!body) return;
  const columns = clusterColumns();
  const head = document.querySelector("#clusters thead tr");
  head.replaceChildren(...columns.map(([title, kind]) => Object.assign(element("th", title, kind), { scope: "col" })));
  body.replaceChildren();
  for (const trace of report.views[0].traces) {
    const rows = trace.rows.filter(isShown);
    if (rows.length) body.append(clusterLine(trace, rows));
  }
  if (!body.children.length) {
    const empty = element("td", "No point passes the filters", "hint");
    empty.colSpan = columns.length;
    body.append(element("tr"));
    body.lastChild.append(empty);
  }
}

function clusterColumns() {
  const rate = has("sparsity_rate") ? [["Sparsity rate", "n"]] : [];
  const best = results.map((result) => [`Best: ${result.title.replace(/^Mean/, "mean")}`, "n"]);
  return [[report.has_sparsity ? "Cluster" : "Points of"], ...rate, ["Points", "n"], ...best, ["with k"], ["Trial"]];
}

// Adds one button for each legend entry, which applies to all views at once.
function drawLegend() {
  const chips = tracesBy(report.views[0]).map((trace) => chip(trace.key, swatch(trace), legendText(trace)));
  if (hasExact) chips.push(chip(report.exact.name, element("span", report.exact.is_curve ? "—" : "∴", "swatch exact"), report.exact.name));
  document.getElementById("legend").replaceChildren(...chips);
}

function chip(key, mark, name) {
  const button = element("button", null, "chip");
  button.type = "button";
  button.setAttribute("aria-pressed", String(!choice.hidden.has(key)));
  mark.setAttribute("aria-hidden", "true");
  button.append(mark, element("span", name));
  button.addEventListener("click", () => {
    if (!choice.hidden.delete(key)) choice.hidden.add(key);
    button.setAttribute("aria-pressed", String(!choice.hidden.has(key)));
    refresh();
  });
  return button;
}

function swatch(trace) {
  const mark = element("span", glyphs[trace.marker.symbol], "swatch");
  mark.style.color = inked(trace).color;
  mark.setAttribute("aria-hidden", "true");
  return mark;
}

function clusterLine(trace, rows) {
  const line = element("tr");
  const name = element("td");
  name.append(swatch(trace), element("span", plainText(trace.name)));
  const rates = rows.map((row) => cell("sparsity_rate", row)).filter((rate) => rate !== null);
  const best = bestOf(rows);
  line.append(name);
  if (has("sparsity_rate")) line.append(element("td", rateRange(rates), "n"));
  line.append(element("td", rows.length, "n"));
  for (const result of results) line.append(element("td", best === null ? "–" : result.show(result.of(best)), "n"));
  line.append(element("td", best === null ? "–" : preference(best)));
  const trial = element("td");
  if (best !== null) trial.append(trialButton(best));
  line.append(trial);
  return line;
}

function rateRange(rates) {
  if (!rates.length) return "–";
  const low = percent(rates.reduce((a, b) => Math.min(a, b)));
  const high = percent(rates.reduce((a, b) => Math.max(a, b)));
  return low === high ? low : `${low.replace(" %", "")} to ${high}`;
}

function bestOf(rows) {
  let best = null;
  for (const row of rows) {
    const value = quality(row);
    if (value !== null && (best === null || value > quality(best))) best = row;
  }
  return best;
}

// Names from Python are escaped for plotly; a text node must not show the escapes.
const plainText = (escaped) => new DOMParser().parseFromString(escaped, "text/html").body.textContent;

function trialButton(row) {
  const button = element("button", String(cell("trial_id", row)).slice(0, 12), "link");
  button.type = "button";
  button.title = String(cell("trial_id", row));
  button.dataset.row = row;
  button.addEventListener("click", (event) => {
    event.stopPropagation();
    select(row, button);
  });
  return button;
}
