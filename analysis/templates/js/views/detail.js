// The details of one trial, in a panel beside the page.
let openedFrom = null;

function select(row, opener) {
  choice.selected = row;
  openedFrom = opener ?? null;
  const detail = document.getElementById("detail");
  document.getElementById("detail-title").textContent = `Trial ${cell("trial_id", row)}`;
  document.getElementById("detail-body").replaceChildren(...detailParts(row));
  detail.hidden = false;
  detail.scrollTop = 0;
  document.getElementById("detail-title").focus({ preventScroll: true });
  document.querySelectorAll("#trial-table tr[data-row]").forEach((line) => line.classList.toggle("selected", Number(line.dataset.row) === row));
  drawViews();
}

function closeDetail() {
  document.getElementById("detail").hidden = true;
  document.querySelectorAll("#trial-table tr.selected").forEach((line) => line.classList.remove("selected"));
  choice.selected = null;
  drawViews();
  if (openedFrom?.isConnected) openedFrom.focus({ preventScroll: true });
}

function detailParts(row) {
  const state = cell("state", row);
  const parts = [element("p")];
  parts[0].append(element("span", state, `badge ${state === "ok" ? "ok" : "bad"}`));
  if (cell("error", row)) parts.push(element("pre", cell("error", row)));
  parts.push(noteList(cell("notes", row)));
  parts.push(commandPart(row));
  parts.push(facts("Preference and objectives", [
    ["k", preference(row)],
    ...report.objectives.map((o) => [`${o.name}${o.unit ? ` (${o.unit})` : ""}`, number(cell(o.column, row), 6)]),
    ["slack (least eps that keeps it)", row < report.n_points ? number(cell("slack", row)) : null],
    ["largest weighted objective (max g)", has("optimum") ? measured("scalarized", row, (value) => number(value, 6)) : null],
    ["its exact optimum", measured("optimum", row, (value) => number(value, 6))],
    ["gap to the optimum, relative", measured("gap", row, gapText)],
  ]));
  parts.push(splitTable("Accuracy", "accuracy", row, (value) => percent(value, 2)));
  parts.push(splitTable(metricTitle(), "metric", row, (value) => number(value)));
  parts.push(splitTable("Loss", "loss", row, (value) => number(value)));
  parts.push(curvePart(row));
  parts.push(facts("Size", [
    ["sparsity rate (SR)", measured("sparsity_rate", row, percent)],
    ["compression rate (CR)", measured("compression_rate", row, fixed)],
    ["parameter sharing (PS)", measured("parameter_sharing", row, fixed)],
    ["SR in parameters", measured("sparsity_rate_params", row, percent)],
    ["CR in parameters", measured("compression_rate_params", row, fixed)],
    ["PS in parameters", measured("parameter_sharing_params", row, fixed)],
    ["rows", count("n_rows", row)],
    ["parameters", count("n_params", row)],
    ["removable parameters", count("removable_params", row)],
    ["MACs a sample", count("n_macs", row)],
    ["removable MACs", count("removable_macs", row)],
    ["bytes when compressed", count("compact_bytes", row)],
    ["least sparsity reached", yesNo(cell("sparsity_reached", row))],
  ]));
  parts.push(layerBars(cell("layer_sparsity", row)));
  parts.push(facts("Training", [
    ["study", cell("study", row)],
    ["model, method", [cell("model", row), cell("method", row)].filter(Boolean).join(", ")],
    ["seed", cell("seed", row)],
    ["began from the trials", cell("taken_over", row)?.join(", ")],
    ["best epoch", cell("best_epoch", row) === null ? null : `${cell("best_epoch", row)} of ${cell("n_epochs", row) ?? "?"}`],
    ["residual of the constraints", measured("residual", row, number)],
    ["tying converged", yesNo(cell("tying_converged", row))],
    ...["", "_sparsify", "_tying", "_retrain"].map((phase) => [`wall time${phase.replace("_", ", ")}`, measured(`wall_s${phase}`, row, (value) => `${fixed(value)} s`)]),
    ["device seconds, its own share", measured("device_s", row, fixed)],
    ["energy", measured("energy_wh", row, (value) => `${number(value)} Wh${cell("energy_estimated", row) === false ? "" : ", estimated"}`)],
    ["device", [cell("device", row), cell("host", row)].filter(Boolean).join(" on ")],
    ["attempt, retry", `${cell("attempt", row) ?? "–"}, ${cell("retry", row) ?? "–"}`],
    ["weights (SHA-256, in blobs/)", cell("weights_sha256", row)],
  ]));
  return parts.filter(Boolean);
}

// Commands that export the trial's network and show how its rows are tied.
function commandPart(row) {
  if (!cell("weights_sha256", row)) return null;
  const trial = cell("trial_id", row);
  const own = report.has_own_problem ? " --grid GRID.yaml" : "";
  const part = element("section");
  part.append(element("h3", "From the shell"));
  part.append(command("Its network as a smaller file", `sweep export ${report.place} ${trial} --to ${trial.slice(0, 12)}.safetensors${own}`));
  if (report.has_sparsity) part.append(command("Which rows are alike and tied", `sweep figure ${report.place} similarity --trial ${trial}`));
  return part;
}

function command(title, text) {
  const part = element("div", null, "command");
  const button = element("button", "Copy");
  button.type = "button";
  button.setAttribute("aria-label", `Copy: ${title}`);
  button.addEventListener("click", async () => {
    button.textContent = (await copied(text, part.querySelector("code"))) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  part.append(element("span", title, "hint"), element("code", text), button);
  return part;
}

// Without access to the clipboard, the text is selected so that the keyboard can copy it.
async function copied(text, node) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(node);
    return false;
  }
}

const measured = (name, row, show) => (cell(name, row) === null ? null : show(cell(name, row)));
const count = (name, row) => (cell(name, row) === null ? null : cell(name, row).toLocaleString("en"));
const yesNo = (value) => (value === null ? null : value ? "yes" : "no");

function facts(title, pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  if (!known.length) return null;
  const part = element("section");
  const listed = element("dl");
  for (const [term, value] of known) listed.append(element("dt", term), element("dd", value));
  part.append(element("h3", title), listed);
  return part;
}

// The metric's name if all tasks share one; otherwise it appears beside each task.
const metricNames = [...new Set(Object.values(report.measured))];
const metricTitle = () => (metricNames.length === 1 ? metricNames[0].replace(/^./u, (letter) => letter.toUpperCase()) : "Metrics");

function noteList(notes) {
  if (!notes?.length) return null;
  const list = element("ul", null, "notes");
  list.append(...notes.map((note) => element("li", note)));
  return list;
}

function splitTable(title, kind, row, show) {
  const splits = ["train", "validation", "test"];
  const isKnown = (name) => splits.some((split) => cell(`${kind}.${split}.${name}`, row) !== null);
  const names = [...report.tasks, ...(kind === "accuracy" ? ["mean"] : [])].filter(isKnown);
  if (!names.length) return null;
  const part = element("section");
  const table = element("table");
  const head = element("tr");
  head.append(element("th", ""), ...splits.map((split) => element("th", split, "n")));
  table.append(head);
  for (const name of names) {
    const line = element("tr");
    const label = kind === "metric" && metricNames.length > 1 ? `${name}: ${report.metrics[name]}` : name;
    line.append(element("th", label), ...splits.map((split) => element("td", show(cell(`${kind}.${split}.${name}`, row)), "n")));
    table.append(line);
  }
  part.append(element("h3", title), table);
  return part;
}

function layerBars(layers) {
  if (!layers || !Object.keys(layers).length) return null;
  const part = element("section");
  part.append(element("h3", "Zero rows by layer"));
  for (const [name, share] of Object.entries(layers)) {
    const bar = element("div", null, "bar");
    const fill = element("i");
    fill.style.width = `${100 * Math.min(1, Math.max(0, share ?? 0))}%`;
    const track = element("span", null, "track");
    track.append(fill);
    bar.append(element("span", name), track, element("span", percent(share), "n"));
    part.append(bar);
  }
  return part;
}
