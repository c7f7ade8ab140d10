/* Pictures as a network sees them: 28 × 28 pixels, white on black. */

import { SIDE } from "./strokes.js";

/** Paint 784 bytes on a canvas of 28 × 28, black where there are none. */
export function paint(canvas, pixels) {
  const image = new ImageData(SIDE, SIDE);
  for (let index = 0; index < SIDE * SIDE; index++) {
    image.data.fill(pixels ? pixels[index] : 0, 4 * index, 4 * index + 3);
    image.data[4 * index + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The bytes of a picture in base64. */
export function decode(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
