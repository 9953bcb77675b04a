// Included only in the page that `sweep report --serve` sends: asks for a newer version, loads it, and restores the reader's choices.
const KEPT = `sweep-live ${report.name}`;
const QUIET_MS = 2500;  // least time since the reader's last action before the page may reload
const MARKED_MS = 60000;  // the same while text is selected, which may remain so forever
const AWAY_MS = [5000, 10000, 30000];  // pauses between tries while the server does not answer
const live = { isHeld: sessionStorage.getItem(`${KEPT} held`) === "yes", newest: null, failures: 0, timer: 0, touched: 0, isPressed: false };

const byId = (id) => document.getElementById(id);
const scrolled = () => [...document.querySelectorAll(".scroll, .matrix, .second, #detail")];
const detailsName = (node) => node.querySelector("summary").textContent.replace(/\d+/g, "").trim();
const sections = () => [...document.querySelectorAll("main > header, main > section")];
const sectionName = (node) => node.getAttribute("aria-labelledby") ?? node.tagName;
const scrolledName = (node) => node.id || (node.getAttribute("aria-labelledby") ?? node.querySelector("[id]")?.id);

// -- saving the reader's choices -----------------------------------------------------------------------------------

// All controls with an id, in any part of the page; a number field stands for its slider.
function controls() {
  const all = [...document.querySelectorAll("main input[id], main select[id]")];
  return all.filter((control) => !(control.id.endsWith("-range") && byId(control.id.replace(/-range$/, ""))));
}

const valueOf = (control) => (control.type === "checkbox" ? control.checked : control.value);

function chosen() {
  const selected = choice.selected === null ? null : cell("trial_id", choice.selected);
  const { eps, accuracy, sparsity } = choice;
  return {
    controls: controls().map((control) => [control.id, valueOf(control)]),
    filters: { eps, accuracy, sparsity },
    everything: eps > report.eps && eps >= greatest(finite("slack")),
    legend: legendSeen(),
    exactHidden: hasExact && choice.hidden.has(report.exact.name),
    listing: { sort: listing.sort, descending: listing.descending, page: listing.page },
    selected,
    plots: [...document.querySelectorAll(".plot[id]")].map((plot) => [plot.id, turned(plot)]),
    details: [...document.querySelectorAll("main details")].map((node) => [detailsName(node), node.open]),
    scrolled: scrolled().map((node) => [scrolledName(node), node.scrollLeft, node.scrollTop]),
    place: place(),
    focus: hasFocus(document.activeElement) ? pathOf(document.activeElement) : null,
  };
}

// Ignores an element that was only clicked, which would get an outline. In a window without focus, nothing matches :focus-visible.
const hasFocus = (node) => node !== null && node !== document.body && (!document.hasFocus() || node.matches(":focus-visible"));

// Clusters are renumbered when a sweep grows, so a legend entry is identified by its trials.
function legendSeen() {
  const seen = { hidden: [], shown: [] };
  for (const trace of legendTraces()) seen[choice.hidden.has(trace.key) ? "hidden" : "shown"].push(...trace.rows.map((row) => cell("trial_id", row)));
  return seen.hidden.length ? seen : null;
}

const legendTraces = () => (report.views.length ? tracesBy(report.views[0]) : []);

// The camera, and the axes that the reader has zoomed, for which plotly sets `autorange` to false.
function turned(plot) {
  const found = {};
  if (plot.layout?.scene?.camera) found["scene.camera"] = plot.layout.scene.camera;
  for (const [name, axis] of Object.entries(plot.layout ?? {})) {
    if (/^[xy]axis\d*$/.test(name) && axis.autorange === false && axis.range) found[`${name}.range`] = axis.range;
  }
  return found;
}

// Sections above may grow, so the scroll position is stored relative to the section at the top of the window.
function place() {
  const top = sections().filter((node) => node.getBoundingClientRect().top <= 1).at(-1);
  return top ? { name: sectionName(top), top: top.getBoundingClientRect().top } : null;
}

function pathOf(node) {
  if (node.id) return `#${CSS.escape(node.id)}`;
  if (node === document.body || !node.parentElement) return "body";
  return `${pathOf(node.parentElement)} > :nth-child(${[...node.parentElement.children].indexOf(node) + 1})`;
}

// -- restoring them ------------------------------------------------------------------------------------------------

function putBack(kept) {
  const values = new Map(kept.controls);
  for (const control of controls()) if (values.has(control.id)) setControl(control, values.get(control.id));
  Object.assign(choice, kept.filters);
  const range = byId("eps-range");
  if (kept.everything && range) {
    range.value = range.max;
    range.dispatchEvent(new Event("input"));
  }
  if (kept.legend) hideAgain(kept.legend);
  if (kept.exactHidden) choice.hidden.add(report.exact.name);
  turnAgain(new Map(kept.plots));
  if (report.views.length) drawLegend();
  refresh();
  listAgain(kept.listing);
  selectAgain(kept.selected);
  const opened = new Map(kept.details);
  for (const node of document.querySelectorAll("main details")) node.open = opened.get(detailsName(node)) ?? node.open;
  if (kept.focus) document.querySelector(kept.focus)?.focus({ preventScroll: true });
  const lefts = new Map(kept.scrolled.map(([name, ...offsets]) => [name, offsets]));
  for (const node of scrolled()) [node.scrollLeft, node.scrollTop] = lefts.get(scrolledName(node)) ?? [0, 0];
  const top = kept.place && sections().find((node) => sectionName(node) === kept.place.name);
  window.scrollTo(0, top ? window.scrollY + top.getBoundingClientRect().top - kept.place.top : 0);
}

// Sets a control as if the reader had done it, so that its event handlers run.
function setControl(control, value) {
  if (valueOf(control) === value || value === "") return;
  if (control.tagName === "SELECT" && ![...control.options].some((option) => option.value === value)) return;
  if (control.type === "checkbox") control.checked = value;
  else control.value = value;
  control.dispatchEvent(new Event(control.tagName === "SELECT" || control.type === "checkbox" ? "change" : "input"));
}

// A legend entry stays hidden if most of its trials that existed before were hidden.
function hideAgain(seen) {
  const [hidden, shown] = [new Set(seen.hidden), new Set(seen.shown)];
  for (const trace of legendTraces()) {
    const ids = trace.rows.map((row) => cell("trial_id", row));
    if (ids.filter((id) => hidden.has(id)).length > ids.filter((id) => shown.has(id)).length) choice.hidden.add(trace.key);
  }
}

// For a view, the changes become part of its layout, which later drawings keep; finished figures are not drawn again.
function turnAgain(plots) {
  for (const [id, changes] of plots) {
    const plot = byId(id);
    const view = report.views[Number(/^view-(\d+)$/.exec(id)?.[1])];
    if (!plot?.layout || !Object.keys(changes).length) continue;
    if (view === undefined) {
      Plotly.relayout(plot, changes);
      continue;
    }
    for (const [path, value] of Object.entries(changes)) {
      const [part, name] = path.split(".");
      if (!view.layout[part]) continue;
      view.layout[part][name] = value;
      if (name === "range") view.layout[part].autorange = false;
    }
  }
}

function listAgain(kept) {
  const column = tableColumns.findIndex((one) => one.key === kept.sort);
  if (column >= 0) {
    Object.assign(listing, { sort: kept.sort, descending: kept.descending });
    document.querySelectorAll("#trial-table th")[column].setAttribute("aria-sort", kept.descending ? "descending" : "ascending");
  }
  listing.page = kept.page;
  list();
}

function selectAgain(trial) {
  const row = trial === null ? -1 : [...Array(report.n_rows).keys()].find((one) => cell("trial_id", one) === trial) ?? -1;
  if (row >= 0) select(row, document.querySelector(`#trial-table tr[data-row="${row}"] button`));
}

// -- polling for updates -------------------------------------------------------------------------------------------

// The page must not reload while the reader is clicking, typing or selecting text.
function isBusy() {
  const isMarked = !(document.getSelection()?.isCollapsed ?? true);
  return live.isPressed || performance.now() - live.touched < (isMarked ? MARKED_MS : QUIET_MS);
}

function loadNewest() {
  sessionStorage.setItem(KEPT, JSON.stringify(chosen()));
  history.scrollRestoration = "manual";
  location.reload();
}

async function ask() {
  if (document.hidden) return;  // the page asks again when it becomes visible
  let pause;
  try {
    const answer = await fetch("/version", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    live.newest = await answer.json();
    live.failures = 0;
    pause = 1000 * live.newest.poll_s;
  } catch {
    pause = AWAY_MS[Math.min(live.failures, AWAY_MS.length - 1)];
    live.failures += 1;
  }
  const isNew = live.failures === 0 && live.newest.version !== report.live;
  if (isNew && !live.isHeld && !isBusy()) return loadNewest();
  showStatus();
  askIn(isNew && !live.isHeld ? 500 : pause);
}

function askIn(milliseconds) {
  clearTimeout(live.timer);
  live.timer = setTimeout(ask, milliseconds);
}

function statusText() {
  const updated = new Date(report.live).toTimeString().slice(0, 8);
  if (live.failures) return `the server has stopped · last updated ${updated}`;
  const { complete, planned, state, problem, version } = live.newest;
  if (problem) return `cannot be read at the moment (${problem}) · last updated ${updated}`;
  const trials = `${complete.toLocaleString("en")} of ${planned.toLocaleString("en")} trials`;
  if (live.isHeld) return `updates are paused · ${trials} · last updated ${updated}${version === report.live ? "" : ", newer data are available"}`;
  const word = { running: "live", paused: "the sweep is paused", ended: complete >= planned ? "the sweep has ended" : "no run is active" }[state];
  return `${word} · ${trials} · updated ${updated}`;
}

// Screen readers announce each change of this text, so it does not contain a time that changes every second.
function showStatus() {
  const text = statusText();
  if (live.line.textContent !== text) live.line.textContent = text;
  live.bar.className = `live${live.failures || live.newest.problem ? " bad" : live.newest.state === "running" && !live.isHeld ? " running" : ""}`;
  live.button.textContent = live.isHeld ? "Resume" : "Pause";
  live.button.setAttribute("aria-label", live.isHeld ? "Resume updates" : "Pause updates");
}

function addStatus() {
  live.bar = element("aside", null, "live");
  live.bar.id = "live";
  live.bar.setAttribute("aria-label", "Updates of this page");
  live.line = element("p");
  live.line.setAttribute("role", "status");
  live.button = element("button", "Pause");
  live.button.type = "button";
  live.button.id = "live-pause";
  live.button.addEventListener("click", () => {
    live.isHeld = !live.isHeld;
    sessionStorage.setItem(`${KEPT} held`, live.isHeld ? "yes" : "no");
    live.touched = -QUIET_MS;
    if (live.newest) showStatus();
    ask();
  });
  live.bar.append(live.line, live.button);
  document.querySelector("main").after(live.bar);
}

for (const kind of ["pointerdown", "keydown", "wheel", "input", "touchmove"]) {
  document.addEventListener(kind, () => { live.touched = performance.now(); }, { capture: true, passive: true });
}
document.addEventListener("pointerdown", () => { live.isPressed = true; }, true);
for (const kind of ["pointerup", "pointercancel"]) document.addEventListener(kind, () => { live.isPressed = false; }, true);
window.addEventListener("blur", () => { live.isPressed = false; });
document.addEventListener("visibilitychange", () => { if (!document.hidden) askIn(0); });

addStatus();
const keptChoices = sessionStorage.getItem(KEPT);
sessionStorage.removeItem(KEPT);
if (keptChoices) putBack(JSON.parse(keptChoices));
history.scrollRestoration = "auto";
live.touched = -QUIET_MS;
ask();
