// Draws a view so that one that fails takes nothing else with it: a browser may take the graphics card away in the middle of a drawing.
const RETRIES_MS = [200, 1000, 4000];
const CALM_MS = 30000;  // without a failure: those before are forgotten
const drawn = new WeakMap();  // of a plot: how to draw it, its failures in a row, when it is tried again, and how the reader had turned it

// `make` says what to draw, now or at a later try: its traces and layout; `wire` adds the plot's events, once for each plotly figure.
function draw(plot, make, wire) {
  const state = drawn.get(plot) ?? { failures: 0, failedAt: -CALM_MS, timer: null };
  drawn.set(plot, Object.assign(state, { make, wire }));
  if (state.timer !== null) return;  // what is lost cannot be drawn on before it is made anew
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
  if (surface) surface.oncontextloss = null;  // plotly would wait for a surface that browsers do not give back
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

// From nothing: what is left of a lost drawing surface cannot be drawn on.
function clear(plot) {
  drawn.get(plot).camera ??= plot.layout?.scene?.camera;
  try {
    Plotly.purge(plot);
  } catch {
    // half a figure cannot always be taken apart; its nodes go all the same
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
