// The table of all trials: search, sorting, pages, and a CSV of exactly the trials that it lists.
const PAGE_ROWS = 25;
const listing = { sort: null, descending: false, page: 0, rows: [] };

const tableColumns = [
  { key: "trial_id", title: "Trial" },
  { key: "study", title: "Study", optional: true },
  { key: "seed", title: "Seed", optional: true },
  { key: "state", title: "State" },
  { key: "k", title: "k", show: (value, row) => preference(row), isText: true },
  { key: "sparsity_rate", title: "SR", show: (value) => percent(value) },
  { key: "compression_rate", title: "CR", show: (value) => fixed(value) },
  { key: "parameter_sharing", title: "PS", show: (value) => fixed(value) },
  { key: "accuracy.test.mean", title: "Mean test accuracy", show: (value) => percent(value, 2) },
  ...(report.tasks.length > 1 ? report.tasks : []).map((task) => ({ key: `accuracy.test.${task}`, title: `${task} test accuracy`, show: (value) => percent(value, 2) })),
  ...report.tasks.filter((task) => !isRepeated(task)).map((task) => ({ key: `metric.test.${task}`, title: `${task} test ${report.metrics[task] ?? "metric"}`, show: (value) => number(value) })),
  ...report.objectives.map((o) => ({ key: o.column, title: objectiveTitle(o), show: (value) => number(value) })),
  { key: "gap", title: "Gap to the optimum", show: gapText },
  { key: "slack", title: "Slack", show: (value) => number(value, 3) },
  { key: "wall_s", title: "Time, s", show: (value) => fixed(value, 1) },
  { key: "notes", title: "Notes", show: (value) => (value ?? []).join("; "), isText: true },
].filter((column) => has(column.key) && !(column.optional && !Array.isArray(report.columns[column.key])));

const searchTexts = Array.from({ length: report.n_rows }, (_, row) =>
  ["trial_id", "study", "state", "model", "method", "error", "seed", "notes"].map((name) => cell(name, row) ?? "").concat(preference(row)).join(" ").toLowerCase());

// An analytic problem has no data, so its test value repeats the objective.
function isRepeated(task) {
  const [metric, loss] = [`metric.test.${task}`, `loss.validation.${task}`];
  const rows = [...Array(report.n_rows).keys()];
  return report.metrics[task] === "value" && rows.every((row) => cell(metric, row) === cell(loss, row));
}

// The metric `value` is a function value, that is, the objective itself rather than a loss on data.
function objectiveTitle(objective) {
  const [kind, split, ...task] = objective.column.split(".");
  if (objective.column === "objective.sparsity") return "Sparsity objective";
  return report.metrics[task.join(".")] === "value" ? objective.name : `${objective.name} ${split} ${kind}`;
}

function list() {
  const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const onlyShown = document.getElementById("only-shown").checked;
  listing.rows = [...searchTexts.keys()].filter((row) => (!onlyShown || isShown(row)) && words.every((word) => searchTexts[row].includes(word)));
  if (listing.sort !== null) listing.rows.sort(order);
  listing.page = Math.min(listing.page, Math.max(0, Math.ceil(listing.rows.length / PAGE_ROWS) - 1));
  drawRows();
}

function order(a, b) {
  const [left, right] = [sortKey(a), sortKey(b)];
  if (left === null || right === null) return (left === null) - (right === null) || a - b;
  const difference = typeof left === "number" && typeof right === "number" ? left - right : String(left).localeCompare(String(right));
  return (listing.descending ? -difference : difference) || a - b;
}

function sortKey(row) {
  const value = cell(listing.sort, row);
  if (!Array.isArray(value)) return value;
  return listing.sort === "k" && !report.has_sparsity && value.length > 1 ? value[1] : value[0];
}

function drawHeader() {
  const line = document.querySelector("#trial-table thead tr");
  for (const column of tableColumns) {
    const head = element("th", null, column.show && !column.isText ? "n" : "");
    head.scope = "col";
    const button = element("button", column.title);
    button.type = "button";
    button.addEventListener("click", () => {
      listing.descending = listing.sort === column.key && !listing.descending;
      listing.sort = column.key;
      listing.page = 0;
      line.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", listing.descending ? "descending" : "ascending");
      list();
    });
    head.append(button);
    line.append(head);
  }
}

function drawRows() {
  const start = listing.page * PAGE_ROWS;
  const page = listing.rows.slice(start, start + PAGE_ROWS);
  document.querySelector("#trial-table tbody").replaceChildren(...(page.length ? page.map(tableLine) : [emptyLine()]));
  document.getElementById("listed").textContent = `${listing.rows.length} of ${report.n_rows} listed${leftOut(report.n_trials - report.n_rows)}`;
  document.getElementById("page").textContent = listing.rows.length ? `${start + 1} to ${start + page.length}` : "none";
  document.getElementById("previous").disabled = listing.page === 0;
  document.getElementById("next").disabled = start + PAGE_ROWS >= listing.rows.length;
}

function emptyLine() {
  const line = element("tr");
  const note = element("td", report.n_rows ? "No trial fits the search" : "No trial yet", "hint");
  note.colSpan = Math.max(1, tableColumns.length);
  line.append(note);
  return line;
}

function tableLine(row) {
  const line = element("tr");
  line.dataset.row = row;
  if (row === choice.selected) line.classList.add("selected");
  for (const column of tableColumns) {
    const value = cell(column.key, row);
    const node = element("td", null, column.show && !column.isText ? "n" : column.key);
    if (column.key === "trial_id") node.append(trialButton(row));
    else if (column.key === "state") node.append(element("span", value, `badge ${value === "ok" ? "ok" : "bad"}`));
    else node.textContent = column.show ? column.show(value, row) : value ?? "–";
    line.append(node);
  }
  line.addEventListener("click", () => select(row, line.querySelector("button")));
  return line;
}

function csv(rows) {
  const names = Object.keys(report.columns);
  const quote = (value) => {
    if (value === null || value === undefined) return "";
    const text = typeof value === "object" ? JSON.stringify(value) : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names, ...rows.map((row) => names.map((name) => cell(name, row)))].map((line) => line.map(quote).join(",")).join("\r\n") + "\r\n";
}

function downloadCsv() {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([csv(listing.rows)], { type: "text/csv" }));
  link.download = `${report.name.replace(/[^\p{L}\p{N}._-]+/gu, "-") || "trials"}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
