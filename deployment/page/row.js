/* Strokes as digits in a row: what stands above or upon each other is one digit. */

const PEN = 0.15; // of the tallest stroke: the width of the pen with which strokes are taken to be drawn
const SHARED = 0.35; // of the narrower one, with the pen: by so much two digits' strokes do not overlap

/** Digits from left to right, each { strokes, box: [left, top, right, bottom], last }, of strokes in 0..1 of the paper;
 * `last` is the index of the stroke of it that was drawn last. */
export function digitsOf(strokes) {
  const pieces = strokes.map((stroke, last) => ({ strokes: [stroke], box: boxOf(stroke), last }));
  const pen = PEN * Math.max(...pieces.map(({ box }) => Math.max(box[3] - box[1], box[2] - box[0])));
  const digits = [];
  for (const piece of pieces.sort((a, b) => a.box[0] - b.box[0])) {
    const at = digits.findIndex((digit) => together(digit.box, piece.box, pen));
    if (at < 0) digits.push(piece);
    else digits[at] = merged(digits[at], piece);
  }
  return digits;
}

function boxOf(stroke) {
  const [x, y] = [0, 1].map((axis) => stroke.map((point) => point[axis]));
  return [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)];
}

/** Whether two boxes share so much of their width that they belong to one digit. */
function together(first, second, pen) {
  const width = (box) => box[2] - box[0] + pen;
  const overlap = Math.min(first[2], second[2]) - Math.max(first[0], second[0]) + pen;
  return overlap >= SHARED * Math.min(width(first), width(second));
}

function merged(first, second) {
  const box = first.box.map((value, side) => (side < 2 ? Math.min : Math.max)(value, second.box[side]));
  return { strokes: [...first.strokes, ...second.strokes], box, last: Math.max(first.last, second.last) };
}
