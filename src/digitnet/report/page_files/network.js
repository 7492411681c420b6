"use strict";
// The trained network, computed in the page: plain arrays, one image at a time.

/** base64 -> ArrayBuffer. */
function decodeBytes(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes.buffer;
}

/** IEEE 754 half precision -> number. */
function fromHalf(half) {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** {offset, count, half} in a buffer, little-endian -> Float32Array. */
function readTensor(buffer, { offset, count, half }) {
  const view = new DataView(buffer, offset, count * (half ? 2 : 4));
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    values[i] = half ? fromHalf(view.getUint16(2 * i, true)) : view.getFloat32(4 * i, true);
  }
  return values;
}

const outputSize = (size, kernel, stride, padding) => Math.floor((size + 2 * padding - kernel) / stride) + 1;

// Each layer: ({values, shape: [channels, height, width]}, layer) -> the same. A vector is [n, 1, 1].
const LAYERS = {
  conv({ values, shape: [channels, height, width] }, layer) {
    const { kernel: [kh, kw], stride: [sy, sx], padding: [py, px], outputs, weight, bias } = layer;
    const rows = outputSize(height, kh, sy, py);
    const columns = outputSize(width, kw, sx, px);
    const result = new Float32Array(outputs * rows * columns);
    for (let o = 0; o < outputs; o++) {
      const target = result.subarray(o * rows * columns, (o + 1) * rows * columns);
      if (bias) target.fill(bias[o]);
      for (let c = 0; c < channels; c++) {
        for (let i = 0; i < kh; i++) {
          for (let j = 0; j < kw; j++) {
            const w = weight[((o * channels + c) * kh + i) * kw + j];
            const first = Math.max(0, Math.ceil((px - j) / sx)); // columns whose pixel is not in the padding
            const end = Math.min(columns, Math.floor((width - 1 + px - j) / sx) + 1);
            for (let y = 0; y < rows; y++) {
              const row = y * sy + i - py;
              if (row < 0 || row >= height) continue;
              const start = (c * height + row) * width + j - px;
              for (let x = first; x < end; x++) target[y * columns + x] += w * values[start + x * sx];
            }
          }
        }
      }
    }
    return { values: result, shape: [outputs, rows, columns] };
  },

  pool({ values, shape: [channels, height, width] }, { kernel: [kh, kw], stride: [sy, sx], mean }) {
    const rows = outputSize(height, kh, sy, 0);
    const columns = outputSize(width, kw, sx, 0);
    const result = new Float32Array(channels * rows * columns);
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++) {
          let sum = 0;
          let most = -Infinity;
          for (let i = 0; i < kh; i++) {
            for (let j = 0; j < kw; j++) {
              const value = values[(c * height + y * sy + i) * width + x * sx + j];
              sum += value;
              if (value > most) most = value;
            }
          }
          result[(c * rows + y) * columns + x] = mean ? sum / (kh * kw) : most;
        }
      }
    }
    return { values: result, shape: [channels, rows, columns] };
  },

  pad({ values, shape: [channels, height, width] }, { sides: [left, right, top, bottom] }) {
    const rows = height + top + bottom;
    const columns = width + left + right;
    const result = new Float32Array(channels * rows * columns);
    for (let c = 0; c < channels; c++) {
      for (let y = Math.max(0, top); y < Math.min(rows, height + top); y++) {
        for (let x = Math.max(0, left); x < Math.min(columns, width + left); x++) {
          result[(c * rows + y) * columns + x] = values[(c * height + y - top) * width + x - left];
        }
      }
    }
    return { values: result, shape: [channels, rows, columns] };
  },

  dense({ values }, { outputs, weight, bias }) {
    const result = new Float32Array(outputs);
    for (let o = 0; o < outputs; o++) {
      let sum = bias ? bias[o] : 0;
      for (let i = 0; i < values.length; i++) sum += weight[o * values.length + i] * values[i];
      result[o] = sum;
    }
    return { values: result, shape: [outputs, 1, 1] };
  },

  scale({ values, shape }, { weight, bias }) {
    const area = values.length / shape[0];
    return { values: values.map((value, i) => value * weight[Math.floor(i / area)] + bias[Math.floor(i / area)]), shape };
  },

  flatten: ({ values }) => ({ values, shape: [values.length, 1, 1] }),
  sigmoid: ({ values, shape }) => ({ values: values.map((value) => 1 / (1 + Math.exp(-value))), shape }),
  scaled_tanh: ({ values, shape }) => ({ values: values.map((value) => 1.7159 * Math.tanh((2 / 3) * value)), shape }),
  tanh: ({ values, shape }) => ({ values: values.map(Math.tanh), shape }),
  relu: ({ values, shape }) => ({ values: values.map((value) => (value > 0 ? value : 0)), shape }),
};

class Network {
  /** `description` is what `experiment.page_network` wrote. */
  constructor(description) {
    const buffer = decodeBytes(description.weights);
    this.layers = description.layers.map((layer) => {
      const loaded = { ...layer };
      for (const key of ["weight", "bias"]) if (layer[key]) loaded[key] = readTensor(buffer, layer[key]);
      return loaded;
    });
  }

  /** Pixels, 784 numbers from 0 to 1 -> what each layer makes of them, the image first, the logits last. */
  activations(pixels) {
    const found = [{ name: "image", values: Float32Array.from(pixels), shape: [1, 28, 28] }];
    for (const layer of this.layers) {
      found.push({ name: layer.name, ...LAYERS[layer.kind](found[found.length - 1], layer) });
    }
    return found;
  }

  logits(pixels) {
    return this.activations(pixels).pop().values;
  }

  probabilities(pixels) {
    const logits = this.logits(pixels);
    const most = Math.max(...logits);
    const powers = Array.from(logits, (value) => Math.exp(value - most));
    const sum = powers.reduce((a, b) => a + b, 0);
    return powers.map((value) => value / sum);
  }
}
