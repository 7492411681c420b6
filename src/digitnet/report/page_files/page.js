"use strict";
// The page: reads its data, and fills in the sections that have some.

const DATA = JSON.parse(document.getElementById("data").textContent);
const DETAILS = DATA.details;
const GALLERY_STEP = 48; // images that are shown at first, and added by "Show more"
const MOST_MAPS = 32; // of a layer
const MAX_SWITCHES = 24; // runs that can be switched on and off
const byId = (id) => document.getElementById(id);
const percent = (fraction, digits = 2) => `${(100 * fraction).toFixed(digits)} %`;

/** Draw values (height x width), ink from 0 to 1, or of any range with `colour`, on a canvas. */
function drawPixels(canvas, values, width, height, colour = (value) => Array(3).fill(255 - 255 * value)) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) picture.data.set([...colour(values[i]), 255], 4 * i);
  context.putImageData(picture, 0, 0);
}

/** Red below zero, blue above it, white between. */
function diverging(most) {
  return (value) => {
    const share = Math.min(1, Math.abs(value) / most);
    return value < 0 ? [255 - 75 * share, 255 - 200 * share, 255 - 205 * share] : [255 - 220 * share, 255 - 160 * share, 255 - 60 * share];
  };
}

function setUpTheme() {
  const root = document.documentElement;
  const set = (theme) => {
    root.dataset.theme = theme;
    byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
    document.dispatchEvent(new Event("theme"));
  };
  set(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  byId("theme").addEventListener("click", () => set(root.dataset.theme === "dark" ? "light" : "dark"));
  let before = null; // paper is white
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    set("light");
  });
  addEventListener("afterprint", () => set(before));
}

function setUpCopy() {
  byId("copy")?.addEventListener("click", async () => {
    const command = byId("command");
    try {
      await navigator.clipboard.writeText(command.textContent);
    } catch {
      getSelection().selectAllChildren(command); // a page from a disk may not be allowed to write there
      if (!document.execCommand("copy")) return;
    }
    byId("copy").textContent = "Copied";
  });
}

function setUpSections() {
  for (const section of document.querySelectorAll("main > section:not([hidden])")) {
    const link = element("a", section.querySelector("h2").textContent);
    link.href = `#${section.id}`;
    const item = document.createElement("li");
    item.append(link);
    byId("sections").append(item);
  }
}

// -- curves --

/** The charts: [title, [[name, the values of a run, dash]], percent]. */
const CHARTS = [
  ["Loss", [["training", (run) => run.train_loss, [5, 4]], ["validation", (run) => run.val_loss]], false],
  ["Error", [["training", (run) => run.train_acc.map((a) => 100 * (1 - a)), [5, 4]], ["validation", (run) => run.val_acc.map((a) => 100 * (1 - a))]], true],
  ["Learning rate", [["", (run) => run.lr]], false],
];

function setUpCurves() {
  let runs = DATA.runs.filter((run) => run.epoch.length);
  if (!runs.length) return;
  byId("curves-section").hidden = false;
  const shown = new Set(runs);
  let charts = [];

  function drawCharts() {
    charts.forEach((chart) => chart.remove());
    const logarithmic = byId("logarithmic").checked;
    const isSingle = runs.length === 1;
    const some = runs.filter((run) => shown.has(run));
    charts = CHARTS.map(([title, parts, isPercent]) => {
      const kept = isSingle ? parts : parts.slice(-1); // of several runs: validation alone
      const series = [];
      const data = [null];
      for (const [name, measure, dash] of kept) {
        const [epochs, ...rows] = aligned(some, measure);
        data[0] = epochs;
        // A logarithmic axis has no zero.
        data.push(...rows.map((row) => (logarithmic ? row.map((value) => (value > 0 ? value : null)) : row)));
        series.push(...some.map((run) => ({
          label: isSingle ? name || "learning rate" : run.name,
          colour: isSingle ? colourOf(kept.length > 1 && name === "training" ? 1 : 0) : colourOf(runs.indexOf(run)),
          dash,
        })));
      }
      const suffix = isSingle || kept[0][0] === "" ? "" : ", validation";
      return new Chart(byId("charts"), title + suffix, series, data, { percent: isPercent, logarithmic });
    });
    if (isSingle) charts.slice(0, 2).forEach((chart) => chart.place.after(element("p", "dashed: training, solid: validation", "legend")));
  }

  if (runs.length > 1) {
    byId("run-switches").hidden = false;
    const all = element("button", "All");
    const none = element("button", "None");
    byId("run-switches").append(all, none);
    const boxes = runs.slice(0, MAX_SWITCHES).map((run, i) => {
      const label = element("label");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
      const swatch = element("span", "", "swatch");
      swatch.style.background = colourOf(i);
      box.addEventListener("change", () => {
        if (box.checked) shown.add(run);
        else shown.delete(run);
        drawCharts();
      });
      label.append(box, swatch, run.name + (run.status === "finished" ? "" : ` (${run.status})`));
      byId("run-switches").append(label);
      return box;
    });
    const setAll = (on) => {
      boxes.forEach((box) => (box.checked = on));
      shown.clear();
      if (on) runs.forEach((run) => shown.add(run));
      drawCharts();
    };
    all.type = none.type = "button";
    all.addEventListener("click", () => setAll(true));
    none.addEventListener("click", () => setAll(false));
  }
  byId("logarithmic").addEventListener("change", drawCharts);
  byId("zoom-out").addEventListener("click", drawCharts);
  document.addEventListener("theme", drawCharts);
  document.addEventListener("records", () => {
    const before = runs;
    runs = DATA.runs.filter((run) => run.epoch.length);
    for (const run of before) if (shown.delete(run)) shown.add(runs.find((other) => other.name === run.name));
    drawCharts();
  });
  drawCharts();
}

// -- following runs that train --

const FOLLOW_SECONDS = 2;

/** What a change of makes a new page: other runs, or another state of one. */
const formOf = (data) => JSON.stringify([data.title, data.runs.map((run) => [run.name, run.status, run.epoch.length > 0]).sort()]);

function setUpFollowing() {
  if (!DATA.live) return;
  const text = element("p", "Following; new epochs appear as they end.", "note");
  text.setAttribute("role", "status");
  byId("content").prepend(text);
  const follow = async () => {
    try {
      const answer = await fetch("data.json");
      const data = await answer.json();
      if (formOf(data) !== formOf(DATA)) {
        location.reload();
        return;
      }
      if (data.runs.some((run) => run.epoch.length !== DATA.runs.find((other) => other.name === run.name).epoch.length)) {
        const places = new Map(DATA.runs.map((run, i) => [run.name, i]));
        DATA.runs = data.runs.sort((a, b) => places.get(a.name) - places.get(b.name)); // colours stay
        const result = document.querySelector(".result");
        if (result && data.head) result.textContent = data.head.result;
        document.dispatchEvent(new Event("records"));
      }
      text.textContent = "Following; new epochs appear as they end.";
    } catch {
      text.textContent = "The server does not answer: this is what it said last.";
    }
    setTimeout(follow, 1000 * FOLLOW_SECONDS);
  };
  setTimeout(follow, 1000 * FOLLOW_SECONDS);
}

// -- the sweep --

/** A series per set of settings: its mean at each value, and a series of points for each seed. */
function sweptChart(sweep) {
  const { axis, measure, series } = sweep.swept;
  const places = [...new Set(series.flatMap(([, points]) => points.map(([x]) => x)))].sort((a, b) => a - b);
  const data = [places];
  const parts = [];
  series.forEach(([name, points], i) => {
    const at = new Map(points);
    const seeds = Math.max(...points.map(([, errors]) => errors.length));
    data.push(places.map((x) => (at.has(x) ? at.get(x).reduce((a, b) => a + b, 0) / at.get(x).length : null)));
    parts.push({ label: name, colour: colourOf(i) });
    for (let k = 0; k < seeds; k++) {
      data.push(places.map((x) => at.get(x)?.[k] ?? null));
      parts.push({ label: `run ${k + 1}`, colour: colourOf(i), scatter: true });
    }
  });
  return new Chart(byId("swept"), `${measure} against ${axis.key}: points are runs, lines their means`, parts, data, {
    percent: true, logarithmic: sweep.swept.log, xLabel: axis.key, xLogarithmic: axis.log, xNames: axis.names, legend: series.length > 1,
  });
}

/** Where a value is on an axis, from 0 to 1. */
function shareOn(axis, values) {
  const scaled = axis.log ? values.map(Math.log) : values;
  const [low, high] = [Math.min(...scaled), Math.max(...scaled)];
  return scaled.map((value) => (value - low) / (high - low || 1));
}

/** A line per run across the axes, each from its lowest value to its highest; the best are the darkest. */
function parallelChart(sweep) {
  const { axes, of } = sweep.parallel;
  const lines = sweep.parallel.lines.toReversed(); // the best is drawn last, over the others
  const shares = axes.map((axis, i) => shareOn(axis, lines.map((line) => line[i])));
  const text = (axis, value) => axis.names?.[value] ?? short(value);
  const ends = axes.map((axis, i) => {
    const values = lines.map((line) => line[i]);
    return `${axis.key}\n${text(axis, Math.min(...values))} … ${text(axis, Math.max(...values))}`;
  });
  const data = [axes.map((_, i) => i), ...lines.map((_, run) => axes.map((_, i) => shares[i][run]))];
  const parts = lines.map((line, run) => ({
    label: axes.map((axis, i) => `${axis.key} ${text(axis, line[i])}`).join(", "),
    colour: `rgba(${styleOf("--heat")}, ${0.15 + 0.85 * (run / lines.length)})`,
  }));
  const title = `All settings: a line is a run, the ${lines.length < of ? `${lines.length} best of ${of}` : "best are the darkest"}`;
  return new Chart(byId("parallel"), title, parts, data, { xLabel: "", xNames: ends, share: true, nearest: true });
}

function setUpSweep() {
  if (!DATA.sweep) return;
  byId("sweep-section").hidden = false;
  let charts = [];
  const drawCharts = () => {
    charts.forEach((chart) => chart.remove());
    charts = [];
    if (DATA.sweep.swept) charts.push(sweptChart(DATA.sweep));
    if (DATA.sweep.parallel) charts.push(parallelChart(DATA.sweep));
  };
  document.addEventListener("theme", drawCharts);
  drawCharts();
}

// -- the table of runs --

function setUpTable() {
  const table = byId("runs");
  if (!table) return;
  const rows = [...table.tBodies[0].rows];
  const valueOf = (row, column) => {
    const text = row.cells[column].textContent;
    const number = parseFloat(text.replaceAll(",", ""));
    return Number.isNaN(number) ? text : number;
  };
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    heading.firstChild.addEventListener("click", () => {
      const sign = heading.ariaSort === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.ariaSort = "none";
      heading.ariaSort = sign === 1 ? "ascending" : "descending";
      rows.sort((a, b) => {
        const [one, other] = [valueOf(a, column), valueOf(b, column)];
        const both = typeof one === "number" && typeof other === "number";
        return sign * (both ? one - other : String(one).localeCompare(String(other), undefined, { numeric: true }));
      });
      table.tBodies[0].append(...rows);
    });
  });
  byId("filter").addEventListener("input", () => {
    const words = byId("filter").value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  });
}

// -- the network, the pad, what is inside --

let network = null;

function setUpPad() {
  if (!DETAILS?.network) return;
  network = new Network(DETAILS.network);
  byId("pad-section").hidden = false;
  const bars = DETAILS.classes.map((name) => {
    const item = document.createElement("li");
    const [track, value, share] = [element("div", "", "track"), element("div", "", "value"), element("span", "", "share")];
    track.append(value);
    item.append(element("span", name), track, share);
    byId("bars").append(item);
    return { value, share };
  });
  const show = (probabilities) => bars.forEach(({ value, share }, i) => {
    value.style.width = `${100 * (probabilities?.[i] ?? 0)}%`;
    share.textContent = probabilities ? percent(probabilities[i], 1) : "";
  });

  let isAsked = false;
  function answer(pad) {
    isAsked = false;
    const ink = pad.ink();
    const image = ink && (DETAILS.network.prepare === "mnist" ? fitDigit(ink, 280, 280) : shrunk(ink, 280));
    drawPixels(byId("seen"), image ?? new Float32Array(784), 28, 28);
    byId("answer").textContent = "Draw something.";
    show(null);
    if (!image) return;
    const probabilities = network.probabilities(image);
    const order = probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
    byId("answer").textContent = `${DETAILS.classes[order[0]]}, ${percent(probabilities[order[0]], 1)}`;
    show(probabilities);
    lookInside(image, "the drawing");
  }
  const pad = new Pad(byId("pad"), () => {
    if (!isAsked) requestAnimationFrame(() => answer(pad)); // once a frame, however fast the pen is
    isAsked = true;
  });
  byId("clear").addEventListener("click", () => pad.clear());
  byId("undo").addEventListener("click", () => pad.undo());
  answer(pad);
}

/** What each layer makes of an image. */
function lookInside(pixels, what) {
  const section = byId("inside-section");
  if (!network || !section || section.hidden) return;
  byId("inside-text").textContent = `What each layer makes of ${what}; white is the lowest value of a layer, black the highest.`;
  byId("layers").replaceChildren();
  for (const { name, values, shape: [channels, height, width] } of network.activations(pixels).slice(1)) {
    if (name === "flatten") continue;
    const isVector = height * width === 1;
    const count = isVector ? 1 : Math.min(channels, MOST_MAPS);
    const size = isVector ? `${channels} values` : `${channels} maps of ${height} x ${width}`;
    byId("layers").append(element("h3", `${name}: ${size}${count < channels && !isVector ? `, the first ${count}` : ""}`));
    const maps = element("div", "", "maps");
    maps.setAttribute("role", "img");
    maps.setAttribute("aria-label", `${name}, ${size}`);
    const low = values.reduce((a, b) => Math.min(a, b), Infinity);
    const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const scaled = values.map((value) => (value - low) / (high - low || 1));
    for (let c = 0; c < count; c++) {
      const canvas = document.createElement("canvas");
      const [columns, rows] = isVector ? [Math.min(channels, 48), Math.ceil(channels / 48)] : [width, height];
      const part = isVector ? Float32Array.from({ length: columns * rows }, (_, i) => scaled[i] ?? 0) : scaled.subarray(c * height * width, (c + 1) * height * width);
      drawPixels(canvas, part, columns, rows);
      const scale = isVector ? 12 : Math.max(1, Math.round(56 / width));
      canvas.style.width = `min(100%, ${columns * scale}px)`;
      maps.append(canvas);
    }
    byId("layers").append(maps);
  }
}

function setUpInside() {
  const first = network?.layers.find((layer) => layer.kind === "conv");
  if (!network || !byId("inside-section")) return;
  byId("inside-section").hidden = false;
  if (!first) return;
  const [kh, kw] = first.kernel;
  const most = first.weight.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const count = Math.min(first.outputs, 2 * MOST_MAPS);
  const maps = element("div", "", "maps");
  maps.setAttribute("role", "img");
  maps.setAttribute("aria-label", `The ${first.outputs} filters of the first layer`);
  for (let o = 0; o < count; o++) {
    const canvas = document.createElement("canvas");
    const area = first.weight.length / first.outputs;
    drawPixels(canvas, first.weight.subarray(o * area, o * area + kh * kw), kw, kh, diverging(most));
    canvas.style.width = "45px";
    maps.append(canvas);
  }
  const text = `The filters of the first layer: ${first.outputs} of ${kh} x ${kw}${count < first.outputs ? `, the first ${count}` : ""}; red is negative, blue positive`;
  byId("filters").append(element("h3", text), maps);
}

// -- images, confusions, calibration --

function setUpImages() {
  if (!DETAILS?.images) return;
  const bytes = new Uint8Array(decodeBytes(DETAILS.pixels));
  const pixelsOf = (position) => Float32Array.from(bytes.subarray(784 * position, 784 * (position + 1)), (value) => value / 255);
  const all = DETAILS.images.map((image, position) => ({ ...image, position }));
  const nameOf = (number) => DETAILS.classes[number];
  let chosen = [];
  let shown = 0;

  function card(image) {
    const button = element("button");
    button.type = "button";
    const canvas = document.createElement("canvas");
    drawPixels(canvas, pixelsOf(image.position), 28, 28);
    const isWrong = image.label !== image.predicted;
    const [[first, confidence], [second, next]] = image.top;
    const line = element("span");
    if (isWrong) line.append(element("span", nameOf(image.label), "is"), " taken for ", element("span", nameOf(image.predicted), "was"));
    else line.append(element("span", nameOf(image.label), "is"));
    const texts = [`${nameOf(first)} ${percent(confidence, 1)}`, `${nameOf(second)} ${percent(next, 1)}`, `index ${image.index}`];
    button.append(canvas, line, ...texts.map((text) => element("span", text)));
    if (image.wrong_label) {
      button.classList.add("doubtful");
      button.append(element("span", "label known to be wrong"));
    }
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      for (const other of byId("gallery").children) other.setAttribute("aria-pressed", String(other === button));
      lookInside(pixelsOf(image.position), `test image ${image.index}`);
    });
    return button;
  }

  function more() {
    const next = chosen.slice(shown, shown + GALLERY_STEP);
    byId("gallery").append(...next.map(card));
    shown += next.length;
    byId("more").hidden = shown >= chosen.length;
  }

  function choose(images, text) {
    chosen = images;
    shown = 0;
    byId("gallery").replaceChildren();
    byId("gallery-text").textContent = text;
    more();
  }

  const wrong = all.filter((image) => image.label !== image.predicted);
  const omitted = DETAILS.errors_left_out ? ` The page has the first ${wrong.length} of them.` : "";
  const chooseWrong = () => choose(wrong, wrong.length
    ? `${DETAILS.errors.toLocaleString("en")} misclassified of the ${DETAILS.split}; those that the network was surest of come first, with its two most probable classes.${omitted}`
    : `No image of the ${DETAILS.split} is misclassified.`);
  byId("more").addEventListener("click", more);
  setUpConfusion(all, choose, chooseWrong);
  chooseWrong();
}

function setUpConfusion(all, choose, chooseWrong) {
  const [matrix, names] = [DETAILS.confusion, DETAILS.classes];
  const place = byId("confusion");
  if (!matrix) {
    const list = document.createElement("ol");
    for (const [label, guess, count] of DETAILS.confusions) list.append(element("li", `${label} taken for ${guess}: ${count}`));
    place.append(element("p", "So many classes make no readable matrix; the most frequent confusions:"), list);
    return;
  }
  const mostWrong = Math.max(1, ...matrix.flatMap((row, i) => row.filter((_, j) => i !== j)));
  const table = element("table", "", "matrix");
  const head = table.createTHead().insertRow();
  head.append(element("td"));
  for (const name of names) head.append(Object.assign(element("th", name), { scope: "col" }));
  const body = table.createTBody();
  const buttons = [];
  matrix.forEach((row, i) => {
    const line = body.insertRow();
    line.append(Object.assign(element("th", names[i]), { scope: "row" }));
    row.forEach((count, j) => {
      const cell = line.insertCell();
      if (!count) {
        cell.append(element("span", ""));
        return;
      }
      const button = element("button", count.toLocaleString("en"));
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-label", i === j ? `${names[i]}: ${count} right` : `${names[i]} taken for ${names[j]}: ${count}`);
      if (i !== j) cell.style.background = `rgba(var(--heat), ${0.1 + 0.3 * (count / mostWrong)})`;
      button.addEventListener("click", () => {
        const isOff = button.getAttribute("aria-pressed") === "true";
        buttons.forEach((other) => other.setAttribute("aria-pressed", "false"));
        if (isOff) {
          chooseWrong();
          return;
        }
        button.setAttribute("aria-pressed", "true");
        const images = all.filter((image) => image.label === i && image.predicted === j);
        const some = images.length < count ? `; the page has ${images.length}, ${i === j ? "the least sure" : "the surest"} ones` : "";
        choose(images, i === j ? `${count} images of ${names[i]} are classified correctly${some}.` : `${count} images of ${names[i]} are taken for ${names[j]}${some}.`);
        byId("mistakes-section").scrollIntoView();
      });
      buttons.push(button);
      cell.append(button);
    });
  });
  place.append(table);
}

function setUpCalibration() {
  if (!DETAILS?.reliability) return;
  const bins = DETAILS.reliability; // [lower end, images, accuracy, mean confidence]
  const points = bins.map(([, , accuracy, confidence]) => [100 * confidence, 100 * accuracy, null]);
  const rows = [...points, [0, null, 0], [100, null, 100]].sort((a, b) => a[0] - b[0]);
  const data = [0, 1, 2].map((column) => rows.map((row) => row[column]));
  let chart = null;
  const drawChart = () => {
    chart?.remove();
    const series = [{ label: "accuracy", colour: colourOf(0), points: true }, { label: "as sure as right", colour: styleOf("--faint"), dash: [4, 4] }];
    chart = new Chart(byId("calibration"), "Accuracy against confidence", series, data, { percent: true, xLabel: "confidence, %", range: [0, 100] });
  };
  document.addEventListener("theme", drawChart);
  drawChart();
}

setUpTheme();
setUpCopy();
setUpCurves();
setUpSweep();
setUpTable();
setUpPad();
setUpInside();
setUpImages();
setUpCalibration();
setUpSections();
setUpFollowing();
