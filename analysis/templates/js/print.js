// The printed page is light, and a still image replaces the WebGL picture, which browsers do not print.
const isDark = () => window.matchMedia("(prefers-color-scheme: dark)").matches;

function preparePrint() {
  document.documentElement.classList.add("printing");
  if (isDark()) recolour();
  document.querySelectorAll(".view.space .plot").forEach(addStill);
}

function addStill(plot) {
  const scene = plot._fullLayout?.scene?._scene;
  const canvas = plot.querySelector(".gl-container canvas");
  if (!scene?.glplot || scene.glplot.contextLost || !canvas) return;
  scene.glplot.redraw();  // a canvas can be read only before the browser has shown it
  const still = element("img", null, "still");
  still.alt = "";
  still.src = canvas.toDataURL("image/png");
  canvas.parentElement.append(still);
}

function endPrint() {
  document.documentElement.classList.remove("printing");
  document.querySelectorAll(".still").forEach((still) => still.remove());
  if (isDark()) recolour();
}

window.addEventListener("beforeprint", preparePrint);
window.addEventListener("afterprint", endPrint);
