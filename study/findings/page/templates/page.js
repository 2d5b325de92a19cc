"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
const paper = matchMedia("print");
const themes = JSON.parse(document.getElementById("themes").textContent);
const figures = [...document.querySelectorAll(".figure")].map((element) => ({
  element,
  ...JSON.parse(element.querySelector("script").textContent),
}));

function draw() {
  const template = themes[dark.matches && !paper.matches ? "dark" : "light"];
  for (const { element, data, layout } of figures) {
    Plotly.react(element, data, { ...layout, template, autosize: true },
      { responsive: true, displayModeBar: false });
  }
}
dark.addEventListener("change", draw);
paper.addEventListener("change", draw);
draw();

function sort(table, column, heading) {
  const rising = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const value = (row) => row.cells[column].dataset.value;
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => (rising ? 1 : -1) * compare(value(a), value(b)));
  table.tBodies[0].append(...rows);
}
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    heading.firstChild.addEventListener("click", () => sort(table, column, heading));
  });
}

const shortly = (value, { decimals = null } = {}) =>
  decimals === null ? String(Number(value.toPrecision(3))) : value.toFixed(decimals);

/* The value at a place of 0 to 100: costs by ratios, the metric evenly; both ends let all pass. */
function valueAt(limit, sizes, place) {
  const values = sizes.map((size) => size[limit.name]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (place <= 0) return low;
  if (place >= 100) return high;
  if (low > 0 && limit.name !== "expected_metric") return low * (high / low) ** (place / 100);
  return low + (high - low) * (place / 100);
}

/* The rule of the recommendation: the fastest surely within the tolerance of the best. */
function bestOf(sizes, { maximize, tolerance }) {
  const loss = (metric) => (maximize ? -metric : metric);
  const least = Math.min(...sizes.map((size) => loss(size.expected_metric)));
  const good = sizes.filter((size) =>
    loss(size.expected_metric) === least || loss(size.surely) <= least + tolerance);
  const cost = (size) => size.train_seconds ?? 1 / size.batch_size;
  return good.reduce((one, other) => (cost(other) < cost(one) ? other : one), good[0]);
}

function choose(section) {
  const known = JSON.parse(section.querySelector("script").textContent);
  const inputs = [...section.querySelectorAll("input")];
  const list = section.querySelector(".sizes");
  const entries = known.sizes.map((size) => {
    const entry = list.appendChild(document.createElement("li"));
    entry.textContent = size.batch_size;
    entry.title = size.trials.length ? `trials ${size.trials.join(", ")}` : "no trial at this size";
    return entry;
  });
  function update() {
    const ends = known.limits.map((limit, n) => valueAt(limit, known.sizes, +inputs[n].value));
    inputs.forEach((input, n) => {
      input.previousElementSibling.textContent = shortly(ends[n] / known.limits[n].size, known.limits[n]);
    });
    const passes = (size) => known.limits.every(({ name, most }, n) =>
      (most ? size[name] <= ends[n] : size[name] >= ends[n]));
    const best = bestOf(known.sizes.filter(passes), known);
    known.sizes.forEach((size, n) => {
      entries[n].className = size === best ? "best" : passes(size) ? "" : "out";
    });
    section.querySelector(".chosen").textContent = best === undefined
      ? "No batch size meets all of these limits."
      : `Batch size ${best.batch_size} at learning rate ${shortly(best.learning_rate)}: ` +
        known.limits.map((limit) =>
          `${limit.title} ${shortly(best[limit.name] / limit.size, limit)}`).join(", ");
  }
  inputs.forEach((input) => input.addEventListener("input", update));
  update();
}
document.querySelectorAll(".choose").forEach(choose);
