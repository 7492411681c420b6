"use strict";
// Charts by uPlot (MIT licence), in the colours of the page.

const COLOURS = ["#2f6fd0", "#c2571a", "#2f8a4c", "#a13d97", "#8a6d1f", "#1d8a94", "#b8354c", "#6a5acd"];
const colourOf = (position) => COLOURS[position % COLOURS.length];
const styleOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A number as short as it can be read. */
function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(2) : String(+value.toPrecision(4));
}

/** A series per run over the union of their epochs; null where a run has no value. */
function aligned(runs, measure) {
  const epochs = [...new Set(runs.flatMap((run) => run.epoch))].sort((a, b) => a - b);
  const place = new Map(epochs.map((epoch, i) => [epoch, i]));
  const rows = runs.map((run) => {
    const row = new Array(epochs.length).fill(null);
    run.epoch.forEach((epoch, i) => (row[place.get(epoch)] = measure(run)[i]));
    return row;
  });
  return [epochs, ...rows];
}

/** One chart with its title and a line of values under the pointer; `series` are {label, colour, dash, points}. */
class Chart {
  constructor(parent, title, series, data, { percent = false, logarithmic = false, xLabel = "epoch", range = null } = {}) {
    this.series = series;
    this.percent = percent;
    this.element = document.createElement("div");
    this.element.className = "chart";
    const heading = document.createElement("h3");
    heading.textContent = title;
    this.place = document.createElement("div");
    this.place.setAttribute("role", "img");
    this.place.setAttribute("aria-label", this.describe(title, series, data));
    this.readout = document.createElement("p");
    this.readout.className = "readout";
    this.element.append(heading, this.place, this.readout);
    parent.append(this.element);
    const axis = { stroke: styleOf("--faint"), grid: { stroke: styleOf("--grid") }, ticks: { stroke: styleOf("--grid") } };
    const width = () => Math.max(200, this.element.clientWidth);
    this.plot = new uPlot(
      {
        width: width(),
        height: 240,
        legend: { show: false },
        scales: { x: { time: false, ...(range ? { range } : {}) }, y: { distr: logarithmic ? 3 : 1, ...(range ? { range } : {}) } },
        axes: [
          { ...axis, size: 34, label: xLabel, labelSize: 20, labelFont: "13px system-ui", incrs: range ? undefined : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] },
          { ...axis, size: 58, values: (_, values) => values.map((value) => (value === null ? "" : short(value) + (percent ? " %" : ""))) },
        ],
        series: [{}, ...series.map(({ label, colour, dash, points }) => ({
          label, stroke: colour, width: 1.7, dash, spanGaps: true, points: points ? { show: true, size: 7, fill: colour } : { show: data[0].length < 2 },
        }))],
        hooks: { setCursor: [(plot) => this.read(plot)] },
      },
      data,
      this.place,
    );
    this.resizing = new ResizeObserver(() => this.plot.setSize({ width: width(), height: 240 }));
    this.resizing.observe(this.element);
  }

  /** For screen readers: the last value of each series. */
  describe(title, series, data) {
    const ends = series.slice(0, 8).map(({ label }, i) => `${label} ${short(data[i + 1].findLast((value) => value !== null))}`);
    return `${title}. Last values: ${ends.join("; ")}${series.length > 8 ? `; and ${series.length - 8} more` : ""}`;
  }

  read(plot) {
    const index = plot.cursor.idx;
    if (index === null || index === undefined) {
      this.readout.textContent = "";
      return;
    }
    const values = this.series
      .map(({ label }, i) => ({ label, value: plot.data[i + 1][index], shown: plot.series[i + 1].show }))
      .filter(({ value, shown }) => shown && value !== null && value !== undefined);
    const texts = values.slice(0, 4).map(({ label, value }) => `${label} ${short(value)}${this.percent ? " %" : ""}`);
    this.readout.textContent = `${short(plot.data[0][index])}: ${texts.join(", ")}${values.length > 4 ? ", …" : ""}`;
  }

  remove() {
    this.resizing.disconnect();
    this.plot.destroy();
    this.element.remove();
  }
}
