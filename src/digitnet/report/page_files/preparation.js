"use strict";
// A drawing prepared as the training images were: what data/preparation.py does with the ink of a picture.

const SIDE = 28; // pixels of the image
const BOX = 20; // pixels: the digit fits into a square of so many
const MIDDLE = 14.5; // where the centre of mass is, in pixels from the edge
const FAINT = 0.1; // of the strongest ink: less is not part of the digit

/** Half to even, as Python rounds. */
function roundHalfEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Keys' bicubic kernel with a = -1/2, as Pillow has it. */
function bicubic(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/** For each of `target` pixels: the first of `source` pixels and their weights, with the support of a target pixel. */
function resamplingWeights(source, target) {
  const scale = source / target;
  const stretch = Math.max(1, scale);
  return Array.from({ length: target }, (_, position) => {
    const centre = (position + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - 2 * stretch + 0.5));
    const end = Math.min(source, Math.floor(centre + 2 * stretch + 0.5));
    const weights = [];
    for (let i = first; i < end; i++) weights.push(bicubic((i - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** Resize `values` (height x width) to rows x columns. */
function resize(values, width, height, columns, rows) {
  const across = new Float32Array(height * columns);
  resamplingWeights(width, columns).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; y++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * values[y * width + first + i];
      across[y * columns + x] = sum;
    }
  });
  const result = new Float32Array(rows * columns);
  resamplingWeights(height, rows).forEach(({ first, weights }, y) => {
    for (let x = 0; x < columns; x++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * across[(first + i) * columns + x];
      result[y * columns + x] = sum;
    }
  });
  return result;
}

/** Where a profile of masses starts, of 28 pixels, so that its centre is at MIDDLE; all of it inside. */
function startOf(masses) {
  let sum = 0;
  let moment = 0;
  masses.forEach((mass, i) => {
    sum += mass;
    moment += mass * (i + 0.5);
  });
  return Math.min(SIDE - masses.length, Math.max(0, roundHalfEven(MIDDLE - moment / sum)));
}

/** The box of what is more than FAINT of the strongest ink, or null if there is no ink. */
function boxOfInk(ink, width, height) {
  const strongest = ink.reduce((a, b) => Math.max(a, b), 0);
  if (strongest <= 0) return null;
  const box = { left: width, right: 0, top: height, bottom: 0 };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (ink[y * width + x] <= FAINT * strongest) continue;
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x + 1);
      box.top = Math.min(box.top, y);
      box.bottom = Math.max(box.bottom, y + 1);
    }
  }
  return box;
}

/** Ink from 0 to 1 (height x width) -> 784 numbers from 0 to 1, in steps of 1/255, as `fit_digit`; null without ink. */
function fitDigit(ink, width, height) {
  const box = boxOfInk(ink, width, height);
  if (box === null) return null;
  const [wide, high] = [box.right - box.left, box.bottom - box.top];
  const cropped = new Float32Array(wide * high);
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) cropped[y * wide + x] = ink[(box.top + y) * width + box.left + x];
  }
  const longest = Math.max(wide, high);
  const columns = Math.max(1, roundHalfEven((wide * BOX) / longest));
  const rows = Math.max(1, roundHalfEven((high * BOX) / longest));
  const fitted = resize(cropped, wide, high, columns, rows).map((value) => Math.max(0, value));
  const most = fitted.reduce((a, b) => Math.max(a, b), 0);
  const down = new Array(rows).fill(0);
  const along = new Array(columns).fill(0);
  fitted.forEach((value, i) => {
    down[Math.floor(i / columns)] += value;
    along[i % columns] += value;
  });
  const [top, left] = [startOf(down), startOf(along)];
  const placed = new Float32Array(SIDE * SIDE);
  fitted.forEach((value, i) => {
    const pixel = (top + Math.floor(i / columns)) * SIDE + left + (i % columns);
    placed[pixel] = roundHalfEven((255 * value) / most) / 255;
  });
  return placed;
}

/** Ink (side x side) -> 784 numbers from 0 to 1: the means of squares, for networks whose images fill the 28 pixels. */
function shrunk(ink, side) {
  const step = side / SIDE;
  const result = new Float32Array(SIDE * SIDE);
  ink.forEach((value, i) => {
    const pixel = Math.floor(Math.floor(i / side) / step) * SIDE + Math.floor((i % side) / step);
    result[pixel] += value / step ** 2;
  });
  return result;
}
