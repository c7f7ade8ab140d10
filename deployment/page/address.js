/* The page's address: behind # the name of the run, and the strokes of a drawing that was shared. Browsers send
 * neither to a server. */

import { decode as bytesOf } from "./picture.js";

const SCALE = 4095; // a point is two numbers of 12 bits, in three bytes
const STEP = 0.006; // of the paper: points nearer to the last one are left out

const parts = () => location.hash.slice(1).split("&");

/** Whether the address names a run. */
export function isNamed({ name }) {
  return parts()[0] === encodeURIComponent(name);
}

/** The strokes in the address; null where it has none, or none that can be read. */
export function drawingOf() {
  try {
    return decode(bytesOf((parts()[1] ?? "").replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return null; // it was cut off, or is none of this page
  }
}

export function addressOf({ name }, strokes = []) {
  return `#${encodeURIComponent(name)}${strokes.length ? `&${encode(strokes)}` : ""}`;
}

/** Strokes in base64url: each as the number of its points, written as a point, and its points. */
function encode(strokes) {
  const scaled = (point) => point.map((value) => Math.round(SCALE * value));
  const pairs = strokes.map(thinned).flatMap((points) => [[points.length, 0], ...points.map(scaled)]);
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

/** The strokes of those bytes; null where there are none. */
function decode(bytes) {
  const [pairs, strokes] = [[], []];
  for (let at = 0; at + 2 < bytes.length; at += 3) {
    pairs.push([(bytes[at] << 4) | (bytes[at + 1] >> 4), ((bytes[at + 1] & 15) << 8) | bytes[at + 2]]);
  }
  while (pairs.length) strokes.push(pairs.splice(0, pairs.shift()[0]).map(([x, y]) => [x / SCALE, y / SCALE]));
  return strokes.length && strokes.every((stroke) => stroke.length) ? strokes : null;
}
