/* Strokes as the picture that a network reads, made as MNIST's were: scaled into a box of 20 pixels, then centred by
 * the mass of their ink in 28 × 28. Pure functions of points: what is read back from a canvas differs among browsers,
 * and some falsify it against tracking. */

export const SIDE = 28; // pixels
const PEN = 2.6; // pixels: as much ink, and as much of it grey, as MNIST's test images have
const CENTRE = 14.5; // pixels: where the mass of MNIST's digits is in the mean
const DOT = 0.02; // of the paper: what is smaller, half as wide as the pen, is a dot, and is not blown up

/** The pixels of strokes, [[[x, y], …], …] in 0..1 of the paper: 784 bytes, white on black. The longer side of what is
 * drawn fills `box` pixels, which never leave the picture: a box of 28 is centred itself, a smaller one by its ink. */
export function rasterise(strokes, box = 20) {
  const fitted = fit(strokes, box);
  const room = (SIDE - box) / 2;
  const centre = centreOfMass(draw(fitted));
  const move = centre.map((value) => Math.max(-room, Math.min(room, CENTRE - value)));
  return Uint8Array.from(draw(fitted, move), (ink) => Math.round(255 * ink));
}

/** The strokes in pixels: scaled into the box in the middle of the picture. */
function fit(strokes, box) {
  const ranges = [0, 1].map((axis) => {
    const values = strokes.flat().map((point) => point[axis]);
    return [Math.min(...values), Math.max(...values)];
  });
  const longest = Math.max(...ranges.map(([low, high]) => high - low));
  const extent = longest < DOT ? 1 : longest;
  const scaled = (value, [low, high]) => ((value - (low + high) / 2) * (box - PEN)) / extent + SIDE / 2;
  return strokes.map((stroke) => stroke.map((point) => point.map((value, axis) => scaled(value, ranges[axis]))));
}

/** The ink of strokes in pixels, moved by [x, y]: 784 numbers in 0..1. */
function draw(strokes, [right, down] = [0, 0]) {
  const ink = new Float64Array(SIDE * SIDE);
  for (const stroke of strokes) {
    const points = stroke.map(([x, y]) => [x + right, y + down]);
    points.forEach((end, index) => drawLine(ink, points[Math.max(0, index - 1)], end));
  }
  return ink;
}

/** Add a line with round ends: pixels fade over the one at its edge. */
function drawLine(ink, start, end) {
  const reach = (PEN + 1) / 2;
  const [columns, rows] = [0, 1].map((axis) => [
    Math.max(0, Math.floor(Math.min(start[axis], end[axis]) - reach)),
    Math.min(SIDE, Math.ceil(Math.max(start[axis], end[axis]) + reach)),
  ]);
  for (let row = rows[0]; row < rows[1]; row++) {
    for (let column = columns[0]; column < columns[1]; column++) {
      const added = Math.min(1, reach - distance([column + 0.5, row + 0.5], start, end));
      ink[row * SIDE + column] = Math.max(ink[row * SIDE + column], added);
    }
  }
}

/** How far a point is from a line between two others. */
function distance([x, y], [startX, startY], [endX, endY]) {
  const [width, height] = [endX - startX, endY - startY];
  const along = ((x - startX) * width + (y - startY) * height) / (width ** 2 + height ** 2 || 1);
  const nearest = Math.max(0, Math.min(1, along));
  return Math.hypot(x - startX - nearest * width, y - startY - nearest * height);
}

/** [x, y] of the centre of ink. */
function centreOfMass(ink) {
  const sums = ink.reduce(
    ([mass, x, y], each, index) => [
      mass + each,
      x + each * ((index % SIDE) + 0.5),
      y + each * (Math.floor(index / SIDE) + 0.5),
    ],
    [0, 0, 0],
  );
  return [sums[1] / sums[0], sums[2] / sums[0]];
}
