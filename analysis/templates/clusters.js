// One line a sparsity cluster of the points shown, its best model chosen on validation data.
const glyphs = { circle: "●", diamond: "◆", square: "■", cross: "✚", "circle-open": "○", "diamond-open": "◇", "square-open": "□" };

function drawClusters() {
  const body = document.querySelector("#clusters tbody");
  if (!body) return;
  body.replaceChildren();
  for (const trace of report.views[0].traces) {
    const rows = trace.rows.filter(isShown);
    if (rows.length) body.append(clusterLine(trace, rows));
  }
  if (!body.children.length) {
    const empty = element("td", "No point passes the filters", "hint");
    empty.colSpan = 6;
    body.append(element("tr"));
    body.lastChild.append(empty);
  }
}

// One button a cluster, for both views at once.
function drawLegend() {
  const legend = document.getElementById("legend");
  legend.replaceChildren(...report.views[0].traces.map((trace) => {
    const key = clusterKey(trace.meta.group, trace.meta.cluster);
    const button = element("button", null, "chip");
    button.type = "button";
    button.setAttribute("aria-pressed", String(!choice.hidden.has(key)));
    button.append(swatch(trace), element("span", plainText(trace.name)));
    button.addEventListener("click", () => {
      if (!choice.hidden.delete(key)) choice.hidden.add(key);
      button.setAttribute("aria-pressed", String(!choice.hidden.has(key)));
      refresh();
    });
    return button;
  }));
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
  line.append(name, element("td", rateRange(rates), "n"), element("td", rows.length, "n"));
  line.append(element("td", best === null ? "–" : percent(cell("accuracy.test.mean", best), 2), "n"));
  line.append(element("td", best === null ? "–" : vector(cell("k", best))));
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
    const accuracy = cell("accuracy.validation.mean", row);
    if (accuracy !== null && (best === null || accuracy > cell("accuracy.validation.mean", best))) best = row;
  }
  return best;
}

// Legend names are escaped for plotly; a text node must not show the escapes.
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
