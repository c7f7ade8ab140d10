/* The page's address: behind # the name of the run, and the strokes of a drawing that was shared. Browsers send
 * neither to a server. */

const SCALE = 4095; // a point is two numbers of 12 bits, in three bytes
const STEP = 0.006; // of the paper: points nearer to the last one are left out

const parts = () => location.hash.slice(1).split("&");

/** Whether the address names a run. */
export function isNamed({ name }) {
  return parts()[0] === encodeURIComponent(name);
}

/** The strokes in the address; null where it has none, or none that can be read. */
export function drawingOf() {
  return parts()[1] ? decode(parts()[1]) : null;
}

export function addressOf({ name }, strokes = []) {
  return `#${encodeURIComponent(name)}${strokes.length ? `&${encode(strokes)}` : ""}`;
}

/** Strokes in base64url: each as the number of its points, in the place of one, and its points. */
function encode(strokes) {
  const pairs = strokes.map(thinned).flatMap((points) => [
    [points.length, 0],
    ...points.map((point) => point.map((value) => Math.round(SCALE * value))),
  ]);
  const bytes = pairs.flatMap(([x, y]) => [x >> 4, ((x & 15) << 4) | (y >> 8), y & 255]);
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
}

/** The points of a stroke without those that are close to the one before; never without its end. */
function thinned(stroke) {
  const kept = [stroke[0]];
  for (const point of stroke.slice(1)) {
    if (Math.hypot(point[0] - kept.at(-1)[0], point[1] - kept.at(-1)[1]) >= STEP) kept.push(point);
  }
  return [...kept, stroke.at(-1)].slice(0, SCALE);
}

function decode(text) {
  const strokes = [];
  try {
    const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    const [first, second, third] = [0, 1, 2].map((shift) => (index) => bytes.charCodeAt(3 * index + shift));
    const pair = (index) => [(first(index) << 4) | (second(index) >> 4), ((second(index) & 15) << 8) | third(index)];
    const pairs = Array.from({ length: Math.floor(bytes.length / 3) }, (_, index) => pair(index));
    while (pairs.length) strokes.push(pairs.splice(0, pairs.shift()[0]).map(([x, y]) => [x / SCALE, y / SCALE]));
  } catch {
    return null; // an address that was cut off, or is none of this page
  }
  return strokes.filter((stroke) => stroke.length);
}
