// The meaning of the points' colours and symbols: the sparsity clusters that Python drew, or another property of the trials.
const MAX_COLOURS = 42;  // six colours and seven symbols

const colourings = [
  { key: "k_0", title: "k0", show: (value) => `k0 = ${number(value)}`, isOrdered: true, digits: 4 },
  { key: "seed", title: "seed", show: (value) => `seed ${value}` },
  { key: "study", title: "study", show: String },
  { key: "method", title: "method", show: String },
  { key: "model", title: "model", show: String },
].filter((one) => distinct(one).length > 1 && distinct(one).length <= MAX_COLOURS);

// Computed shares may differ in their last digits.
function groupValue(by, row) {
  const value = cell(by.key, row);
  return by.digits && value !== null ? Number(value.toPrecision(by.digits)) : value;
}

function distinct(by) {
  const values = new Set(Array.from({ length: report.n_points }, (_, row) => groupValue(by, row)));
  return [...values].sort((a, b) => (a === null) - (b === null) || (typeof a === "number" ? a - b : String(a).localeCompare(String(b))));
}

const colouring = () => colourings.find((one) => one.key === choice.colour);

// The key of a point's legend entry, under which hidden entries are stored.
function groupKey(row) {
  const by = colouring();
  return by ? `${by.key} ${groupValue(by, row)}` : clusterKey(cell("group", row), cell("cluster", row));
}

// The traces of a view, one for each legend entry.
function tracesBy(view) {
  const by = colouring();
  if (!by) return view.traces.map((trace) => ({ ...trace, key: clusterKey(trace.meta.group, trace.meta.cluster) }));
  const rows = view.traces.flatMap((trace) => trace.rows).sort((a, b) => a - b);
  return distinct(by).map((value, i, values) => {
    const own = rows.filter((row) => groupValue(by, row) === value);
    const marker = { ...view.traces[0].marker, color: colourOf(by, i, values.length), symbol: report.palette.symbols[i % report.palette.symbols.length] };
    return { ...view.traces[0], name: value === null ? `no ${by.title}` : by.show(value), isPlain: true, key: `${by.key} ${value}`, rows: own, marker, meta: {} };
  });
}

// Ordered numbers range from orange over pink to blue, which colour-blind readers distinguish by lightness.
function colourOf(by, i, n) {
  if (!by.isOrdered) return report.palette.colours[i % report.palette.colours.length];
  const stops = [[230, 159, 0], [204, 121, 167], [0, 114, 178]];
  const place = (2 * i) / Math.max(1, n - 1);
  const low = Math.min(1, Math.floor(place));
  return `rgb(${stops[low].map((part, j) => Math.round(part + (stops[low + 1][j] - part) * (place - low))).join(", ")})`;
}

// Legend names from Python are escaped for plotly; a text node must not show the escapes.
const legendText = (trace) => (trace.isPlain ? trace.name : plainText(trace.name));
