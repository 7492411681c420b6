"use strict";
// Charts by uPlot (MIT licence), in the colours of the page.

/** An element with a text, never markup. */
function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

const COLOURS = ["#2f6fd0", "#c2571a", "#2f8a4c", "#a13d97", "#8a6d1f", "#1d8a94", "#b8354c", "#6a5acd"];
const colourOf = (position) => COLOURS[position % COLOURS.length];
const styleOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A number as short as it can be read. */
function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const rounded = +value.toPrecision(4);
  return rounded !== 0 && Math.abs(rounded) < 1e-4 ? rounded.toExponential() : String(rounded); // an axis has room for seven
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

/** One chart with its title and a line of values under the pointer; `series` are {label, colour, dash, points, scatter}.
 *
 * `percent`: of the vertical axis; `xNames`: of the positions 0, 1, …; `share`: the vertical axis is from 0 to 1, without
 * numbers; `nearest`: the line of values tells of the nearest series alone; `legend`: name the lines below.
 */
class Chart {
  constructor(parent, title, series, data, options = {}) {
    const { percent = false, logarithmic = false, xLabel = "epoch", range = null, xLogarithmic = false, xNames = null, share = false, nearest = false } = options;
    Object.assign(this, { series, percent, xNames, nearest });
    this.element = element("div", "", "chart");
    this.place = document.createElement("div");
    this.place.setAttribute("role", "img");
    this.place.setAttribute("aria-label", this.describe(title, series, data));
    this.readout = element("p", "", "readout");
    this.element.append(element("h3", title), this.place, this.readout);
    if (options.legend) this.place.after(this.legend());
    parent.append(this.element);
    const axis = { stroke: styleOf("--faint"), grid: { stroke: styleOf("--grid") }, ticks: { stroke: styleOf("--grid") } };
    const width = () => Math.max(200, this.element.clientWidth);
    const xAxis = { ...axis, size: 34, label: xLabel, labelSize: 20, labelFont: "13px system-ui" };
    if (xNames) Object.assign(xAxis, { size: share ? 44 : 34, splits: xNames.map((_, i) => i), values: xNames });
    else if (xLogarithmic) Object.assign(xAxis, { splits: data[0], filter: (_, splits) => splits, values: (_, values) => values.map(short) });
    else if (!range) xAxis.incrs = xLabel === "epoch" ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] : undefined;
    const unit = percent ? " %" : "";
    const yAxis = { ...axis, size: 58, values: (_, values) => values.map((value) => (value === null ? "" : short(value) + unit)) };
    const y = share ? [0, 1] : range;
    this.plot = new uPlot(
      {
        width: width(),
        height: 260,
        padding: share ? [12, 60, 0, 60] : undefined,
        legend: { show: false },
        focus: nearest ? { alpha: 0.15 } : undefined,
        cursor: nearest ? { focus: { prox: 30 } } : undefined,
        scales: {
          x: { time: false, distr: xLogarithmic ? 3 : 1, ...(range ? { range } : xNames ? { range: [-0.15, xNames.length - 0.85] } : {}) },
          y: { distr: logarithmic ? 3 : 1, ...(y ? { range: y } : {}) },
        },
        axes: [xAxis, share ? { show: false } : yAxis],
        series: [{}, ...series.map(({ label, colour, dash, points, scatter }) => ({
          label, stroke: colour, dash, spanGaps: true, width: scatter ? 0 : 1.7,
          points: points || scatter ? { show: true, size: scatter ? 6 : 7, fill: colour, stroke: colour } : { show: data[0].length < 2 },
        }))],
        hooks: { setCursor: [(plot) => this.read(plot)], setSeries: [(plot, index) => ((this.focused = index), this.read(plot))] },
      },
      data,
      this.place,
    );
    this.resizing = new ResizeObserver(() => this.plot.setSize({ width: width(), height: 260 }));
    this.resizing.observe(this.element);
  }

  /** The names of the lines, with their colours. */
  legend() {
    const list = element("p", "", "legend");
    for (const { label, colour } of this.series.filter(({ scatter }) => !scatter)) {
      const item = element("span");
      const swatch = element("span", "", "swatch");
      swatch.style.background = colour;
      item.append(swatch, ` ${label}`);
      list.append(item);
    }
    return list;
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
    if (this.nearest) {
      this.readout.textContent = this.focused ? this.series[this.focused - 1].label : "";
      return;
    }
    const values = this.series
      .map(({ label }, i) => ({ label, value: plot.data[i + 1][index], shown: plot.series[i + 1].show }))
      .filter(({ value, shown }) => shown && value !== null && value !== undefined);
    const texts = values.slice(0, 4).map(({ label, value }) => `${label} ${short(value)}${this.percent ? " %" : ""}`);
    const place = this.xNames?.[plot.data[0][index]] ?? short(plot.data[0][index]);
    this.readout.textContent = `${place}: ${texts.join(", ")}${values.length > 4 ? ", …" : ""}`;
  }

  remove() {
    this.resizing.disconnect();
    this.plot.destroy();
    this.element.remove();
  }
}
