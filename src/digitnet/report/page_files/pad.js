"use strict";
// The pad: strokes of a pen on a canvas, by mouse, finger, pen or keyboard, and their ink.

const PEN = 20; // pixels, of 280
const STROKE = 0.11; // of the digit's longer side: thinner strokes are thickened, as data/preparation.py does
const STEP = 7; // pixels that an arrow key moves

class Pad {
  /** `changed` is called after each change, with this pad. */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.strokes = [];
    this.cursor = [140, 140];
    this.isDown = false; // the keyboard's pen
    this.active = null; // the pointer that draws
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (this.active = null));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => this.draw());
    canvas.addEventListener("blur", () => this.draw());
    this.draw();
  }

  pointOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const border = this.canvas.clientLeft;
    return [
      ((event.clientX - box.left - border) * 280) / this.canvas.clientWidth,
      ((event.clientY - box.top - border) * 280) / this.canvas.clientHeight,
    ];
  }

  press(event) {
    if (event.button !== 0 || this.active !== null) return;
    this.active = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.isDown = false;
    this.strokes.push([this.pointOf(event)]);
    this.update();
  }

  move(event) {
    if (event.pointerId !== this.active) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.strokes.at(-1).push(this.pointOf(each));
    this.update();
  }

  key(event) {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (direction) {
      this.cursor = this.cursor.map((value, i) => Math.min(275, Math.max(5, value + STEP * direction[i])));
      if (this.isDown) this.strokes.at(-1).push([...this.cursor]);
    } else if (event.key === " ") {
      this.isDown = !this.isDown;
      if (this.isDown) this.strokes.push([[...this.cursor]]);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
    this.update();
  }

  clear() {
    this.strokes = [];
    this.isDown = false;
    this.update();
  }

  undo() {
    this.strokes.pop();
    this.isDown = false;
    this.update();
  }

  update() {
    this.draw();
    this.changed(this);
  }

  paint(context, width, colour) {
    Object.assign(context, { lineWidth: width, lineCap: "round", lineJoin: "round", strokeStyle: colour });
    for (const stroke of this.strokes) {
      context.beginPath();
      context.moveTo(...stroke[0]);
      for (const point of stroke.length > 1 ? stroke.slice(1) : [[stroke[0][0] + 0.01, stroke[0][1]]]) context.lineTo(...point);
      context.stroke();
    }
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, 280, 280);
    this.paint(context, PEN, "#111");
    if (document.activeElement === this.canvas && this.active === null) {
      Object.assign(context, { strokeStyle: this.isDown ? "#b3261e" : "#1f5fbf", lineWidth: 2 });
      context.beginPath();
      context.arc(...this.cursor, PEN / 2, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  /** Ink from 0 to 1, (280 x 280), or null if nothing is drawn. */
  ink() {
    if (!this.strokes.length) return null;
    const points = this.strokes.flat();
    const extent = (i) => Math.max(...points.map((p) => p[i])) - Math.min(...points.map((p) => p[i]));
    const longest = Math.min(280, Math.max(extent(0), extent(1)) + PEN);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 280;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillRect(0, 0, 280, 280);
    this.paint(context, Math.max(PEN, STROKE * longest), "#fff");
    const pixels = context.getImageData(0, 0, 280, 280).data;
    return Float32Array.from({ length: 280 * 280 }, (_, i) => pixels[4 * i] / 255);
  }
}
