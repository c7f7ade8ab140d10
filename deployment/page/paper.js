/* The paper: strokes drawn on a canvas with mouse, pen or finger, and taken back. */

const PEN = 0.045; // of the paper's side
const TEXT = 12; // CSS pixels
const STEP = 0.003; // of the paper's side: points nearer than that to the last one add nothing

export class Paper {
  strokes = []; // [[[x, y], …], …] in 0..1 of the paper
  marks = []; // { box: [left, top, right, bottom], text, chosen } on the paper
  pointer = null; // the one that draws: of several fingers the first

  /** Draws on a square canvas, and calls `changed` whenever the strokes are others. */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    canvas.addEventListener("pointerdown", (event) => this.start(event));
    canvas.addEventListener("pointermove", (event) => this.go(event));
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(end, (event) => this.end(event));
    }
    new ResizeObserver(() => this.paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  get drawing() {
    return this.pointer !== null;
  }

  start(event) {
    if (this.drawing || event.button !== 0) return;
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.change([...this.strokes, [this.place(event)]]);
  }

  go(event) {
    if (event.pointerId !== this.pointer) return;
    const stroke = this.strokes.at(-1);
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) {
      const point = this.place(each);
      if (Math.hypot(point[0] - stroke.at(-1)[0], point[1] - stroke.at(-1)[1]) >= STEP) stroke.push(point);
    }
    this.change(this.strokes);
  }

  end(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    this.change(this.strokes);
  }

  /** Take the last stroke back, but none that is being drawn. */
  undo() {
    if (this.strokes.length && !this.drawing) this.change(this.strokes.slice(0, -1));
  }

  /** Take all strokes back, but none while one is being drawn. */
  clear() {
    if (this.strokes.length && !this.drawing) this.change([]);
  }

  change(strokes) {
    this.strokes = strokes;
    this.paint();
    this.changed();
  }

  /** Mark places on the paper by boxes with a text. */
  mark(marks) {
    if (!marks.length && !this.marks.length) return;
    this.marks = marks;
    this.paint();
  }

  /** Where an event is on the paper, whose edge holds back what leaves it. */
  place(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const place = [(event.clientX - left) / width, (event.clientY - top) / height];
    return place.map((value) => Math.max(0, Math.min(1, value)));
  }

  paint() {
    const side = Math.round(this.canvas.clientWidth * devicePixelRatio);
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, side, side);
    context.strokeStyle = getComputedStyle(this.canvas).color;
    context.lineWidth = PEN * side;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of this.strokes) {
      context.beginPath();
      context.moveTo(...stroke[0].map((value) => value * side));
      for (const point of stroke) context.lineTo(...point.map((value) => value * side));
      context.stroke();
    }
    this.paintMarks(context, side);
  }

  paintMarks(context, side) {
    const [style, size] = [getComputedStyle(this.canvas), TEXT * devicePixelRatio];
    context.lineWidth = devicePixelRatio;
    context.font = `${size}px ${style.fontFamily}`;
    for (const { box, text, chosen } of this.marks) {
      const [left, top, right, bottom] = box.map((value, edge) => (value + (edge < 2 ? -0.8 : 0.8) * PEN) * side);
      context.strokeStyle = context.fillStyle = style.getPropertyValue(chosen ? "--blue" : "--quiet");
      context.strokeRect(left, top, right - left, bottom - top);
      context.fillText(text, Math.max(0, left), top > 1.5 * size ? top - size / 3 : bottom + 1.1 * size);
    }
  }
}
