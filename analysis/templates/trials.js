// The table of all trials: search, sort, pages, and a CSV of exactly what it lists.
const PAGE_ROWS = 25;
const listing = { sort: null, descending: false, page: 0, rows: [] };

const tableColumns = [
  { key: "trial_id", title: "Trial" },
  { key: "study", title: "Study", optional: true },
  { key: "seed", title: "Seed", optional: true },
  { key: "state", title: "State" },
  { key: "k", title: "k", show: vector },
  { key: "sparsity_rate", title: "SR", show: (value) => percent(value) },
  { key: "compression_rate", title: "CR", show: (value) => fixed(value) },
  { key: "parameter_sharing", title: "PS", show: (value) => fixed(value) },
  { key: "accuracy.test.mean", title: "Mean test accuracy", show: (value) => percent(value, 2) },
  ...(report.tasks.length > 1 ? report.tasks : []).map((task) => ({ key: `accuracy.test.${task}`, title: `${task} test accuracy`, show: (value) => percent(value, 2) })),
  ...report.tasks.map((task) => ({ key: `metric.test.${task}`, title: `${task} test ${report.metrics[task] ?? "metric"}`, show: (value) => number(value) })),
  ...report.objectives.map((o) => ({ key: o.column, title: o.column === "objective.sparsity" ? "Sparsity objective" : `${o.name} ${o.column.split(".").slice(0, 2).reverse().join(" ")}`, show: (value) => number(value) })),
  { key: "slack", title: "Slack", show: (value) => number(value, 3) },
  { key: "wall_s", title: "Time, s", show: (value) => fixed(value, 1) },
].filter((column) => has(column.key) && !(column.optional && !Array.isArray(report.columns[column.key])));

const searchTexts = Array.from({ length: report.n_rows }, (_, row) =>
  ["trial_id", "study", "state", "model", "method", "error", "seed"].map((name) => cell(name, row) ?? "").concat(vector(cell("k", row))).join(" ").toLowerCase());

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
  return Array.isArray(value) ? value[0] : value;
}

function drawHeader() {
  const line = document.querySelector("#trial-table thead tr");
  for (const column of tableColumns) {
    const head = element("th", null, column.show && column.key !== "k" ? "n" : "");
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
  document.getElementById("listed").textContent = `${listing.rows.length} of ${report.n_rows} listed`;
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
    const node = element("td", null, column.show && column.key !== "k" ? "n" : "");
    if (column.key === "trial_id") node.append(trialButton(row));
    else if (column.key === "state") node.append(element("span", value, `badge ${value === "ok" ? "ok" : "bad"}`));
    else node.textContent = column.show ? column.show(value) : value ?? "–";
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
