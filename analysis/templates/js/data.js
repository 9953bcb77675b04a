"use strict";
// The embedded trials and the formatting of numbers; nothing is rounded elsewhere.
const report = JSON.parse(document.getElementById("report-data").textContent);

function cell(name, row) {
  const column = report.columns[name];
  if (column === undefined) return null;
  return Array.isArray(column) ? column[row] : column.all;
}

const has = (name) => report.columns[name] !== undefined;

function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value === 0 || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  const short = Number(value.toPrecision(digits));
  return size < 1e-3 || size >= 1e7 ? short.toExponential() : String(short);
}

const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`);
const fixed = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const gapText = (value) => number(Math.abs(value ?? 1) < 1e-12 ? 0 : value, 2);  // a smaller gap is rounding error
const vector = (values) => (values ? `(${values.map((value) => number(value)).join(", ")})` : "none");

// A sweep without a sparsity objective has k0 = 0 everywhere: its k begins with k1.
function preference(row) {
  const k = cell("k", row);
  return vector(k && !report.has_sparsity && k.length > report.tasks.length ? k.slice(1) : k);
}

function meanLoss(split, row) {
  const losses = report.tasks.map((task) => cell(`loss.${split}.${task}`, row));
  return losses.includes(null) ? null : losses.reduce((a, b) => a + b, 0) / losses.length;
}

// Scores a model on validation data by the manifest's rule, as SelectionRule.scores does in Python; higher is better.
function quality(row) {
  if (report.chosen_by === "accuracy") return cell("accuracy.validation.mean", row);
  const losses = report.tasks.map((task) => cell(`loss.validation.${task}`, row));
  if (losses.includes(null)) return null;
  return -losses.reduce((sum, loss, i) => sum + loss / (Math.abs(report.guess_losses[i]) || 1), 0) / losses.length;
}

// The columns that describe a model on test data: the mean accuracy if all tasks have one, otherwise each task's accuracy or metric.
const results = [
  ...(report.chosen_by === "accuracy" ? [{ title: "Mean test accuracy", of: (row) => cell("accuracy.test.mean", row), show: (value) => percent(value, 2) }] : []),
  ...(report.chosen_by === "accuracy" ? [] : report.tasks.filter((task) => has(`accuracy.test.${task}`)).map((task) => ({ title: `${task} test accuracy`, of: (row) => cell(`accuracy.test.${task}`, row), show: (value) => percent(value, 2) }))),
  ...Object.entries(report.measured).map(([task, metric]) => ({ title: `${task} test ${metric}`, of: (row) => cell(`metric.test.${task}`, row), show: (value) => number(value) })),
];
if (!results.length) results.push({ title: "Mean test loss", of: (row) => meanLoss("test", row), show: (value) => number(value) });

// The reader's choices, which determine how every part of the page is drawn.
const choice = { eps: report.eps, accuracy: 0, sparsity: 0, study: "", colour: "cluster", axes: {}, plane: "projection", hidden: new Set(), selected: null };

const clusterKey = (group, cluster) => `${group} ${cluster}`;

function passes(row) {
  if (choice.hidden.has(groupKey(row))) return false;
  if (choice.study && String(cell("study", row)) !== choice.study) return false;
  if (choice.accuracy > 0 && !(cell("accuracy.validation.mean", row) >= choice.accuracy)) return false;
  return !(choice.sparsity > 0 && !(cell("sparsity_rate", row) >= choice.sparsity));
}

function isShown(row) {
  if (row >= report.n_points) return false;
  const slack = cell("slack", row);
  return slack !== null && slack <= choice.eps && passes(row);
}

function shownRows() {
  const rows = [];
  for (let row = 0; row < report.n_points; row++) if (isShown(row)) rows.push(row);
  return rows;
}

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  if (className) node.className = className;
  return node;
}
