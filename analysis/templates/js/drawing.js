// Draws each view so that its failure affects no other view: a browser may withdraw the graphics card in the middle of a drawing.
const RETRIES_MS = [200, 1000, 4000];
const CALM_MS = 30000;  // after this time without a failure, earlier failures are forgotten
const drawn = new WeakMap();  // plot -> how to draw it, its consecutive failures, the timer of its next try, and the reader's last camera

// `make` returns the traces and the layout, now or at a later try; `wire` adds the plot's events, once for each plotly figure.
function draw(plot, make, wire) {
  const state = drawn.get(plot) ?? { failures: 0, failedAt: -CALM_MS, timer: null };
  drawn.set(plot, Object.assign(state, { make, wire }));
  if (state.timer !== null) return;  // a plot whose drawing surface was lost waits for its next try
  if (plot.querySelector(".undrawn")) clear(plot);
  const { traces, layout } = make(plot);
  if (layout.scene && state.camera) layout.scene.camera = state.camera;
  try {
    Plotly.react(plot, traces, layout, plotConfig);
  } catch (problem) {
    fail(plot, problem);
    return;
  }
  state.camera = null;
  if (plot.dataset.ready) return;
  plot.dataset.ready = "yes";
  plot.on("plotly_webglcontextlost", () => fail(plot, new Error("its drawing surface was lost")));
  const surface = plot._fullLayout.scene?._scene?.glplot;
  if (surface) surface.oncontextloss = null;  // plotly would wait for a surface that browsers do not restore
  wire(plot);
}

function fail(plot, problem) {
  const state = drawn.get(plot);
  console.warn(`${plot.id} could not be drawn`, problem);
  if (performance.now() - state.failedAt >= CALM_MS) state.failures = 0;
  state.failedAt = performance.now();
  clear(plot);
  state.failures += 1;
  if (state.failures <= RETRIES_MS.length) again(plot, RETRIES_MS[state.failures - 1]);
  else sayUndrawn(plot, problem);
}

function again(plot, milliseconds) {
  const state = drawn.get(plot);
  state.timer = setTimeout(() => {
    state.timer = null;
    draw(plot, state.make, state.wire);
  }, milliseconds);
}

// Removes the whole figure, because the remains of a lost drawing surface cannot be reused.
function clear(plot) {
  drawn.get(plot).camera ??= plot.layout?.scene?.camera;
  try {
    Plotly.purge(plot);
  } catch {
    // plotly cannot always purge a half-drawn figure; its nodes are removed anyway
  }
  plot.replaceChildren();
  delete plot.dataset.ready;
}

function sayUndrawn(plot, problem) {
  console.error(`${plot.id} stays undrawn`, problem);
  const reason = String(problem.message ?? problem).split("\n")[0];
  const button = element("button", "Try again");
  button.type = "button";
  button.addEventListener("click", () => {
    drawn.get(plot).failures = 0;
    again(plot, 0);
  });
  const note = element("div", null, "undrawn");
  note.setAttribute("role", "status");
  note.append(element("p", `The browser could not draw this view (${reason}). The other parts of the page show the same trials.`), button);
  plot.replaceChildren(note);
}
