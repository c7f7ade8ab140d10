/* How a network reads: the maps of each of its layers, one canvas a layer. */

import { element } from "./element.js";

const WIDTH = 800; // pixels that many maps side by side take at least: the page has them shrink to its own width
const SIDE = 48; // pixels that a map takes at most
const HEIGHT = 440; // pixels that the maps of all layers take at most, so that the whole network is seen at once
const GAP = 2;
const SHOWN = 24; // maps of a layer at most
const GREEN = 0.45; // of the blue in the colour of a negative value

export class Layers {
  /** Fills a list with a row for each layer, under those that are there. */
  constructor(list) {
    this.list = list;
    this.rows = [];
  }

  /** Have a row of empty maps for each layer of a network. */
  set(layers) {
    for (const { row } of this.rows) row.remove();
    this.rows = layers.map((layer) => new Row(layer, HEIGHT / layers.length));
    this.list.append(...this.rows.map(({ row }) => row));
  }

  /** Show what a network made of a picture: its outputs by name; null for nothing. */
  show(outputs) {
    for (const row of this.rows) row.paint(outputs?.[row.layer.output]);
  }
}

class Row {
  constructor(layer, most) {
    const { kind, maps, height, width } = (this.layer = layer);
    this.count = Math.min(maps, SHOWN);
    this.scale = Math.ceil(Math.min(SIDE, WIDTH / this.count - GAP) / width);
    const size = height * width > 1 ? `${maps} maps of ${width} × ${height}` : `${maps} numbers`;
    const shown = maps > this.count ? `, here ${this.count}` : "";
    this.image = new ImageData(this.count * (width * this.scale + GAP) - GAP, height * this.scale);
    const sides = { width: this.image.width, height: this.image.height };
    this.canvas = element("canvas", { ...sides, role: "img", ariaLabel: `${kind}, ${size}${shown}` });
    this.canvas.style.maxHeight = `${Math.min(SIDE, most)}px`;
    this.context = this.canvas.getContext("2d");
    this.row = element("li", {}, element("p", {}, kind, element("span", {}, size + shown)), this.canvas);
    this.pixels = new Uint32Array(this.image.data.buffer); // alpha, blue, green, red
  }

  /** Paint maps, [maps × height × width]: white where a value is large, blue where it is negative. */
  paint(values) {
    const { count, scale, pixels, canvas } = this;
    const { height, width } = this.layer;
    this.context.clearRect(0, 0, canvas.width, canvas.height);
    if (!values) return;
    let most = 1e-9;
    for (const value of values) most = Math.max(most, Math.abs(value));
    for (let y = 0; y < height; y++) {
      const start = y * scale * canvas.width;
      for (let map = 0; map < count; map++) {
        let at = start + map * (width * scale + GAP);
        for (let x = 0; x < width; x++) {
          const value = values[(map * height + y) * width + x] / most;
          const grey = Math.round(255 * Math.abs(value));
          const colour = value < 0 ? (grey << 16) | ((GREEN * grey) << 8) : grey * 0x010101;
          for (let step = 0; step < scale; step++) pixels[at++] = 0xff000000 | colour;
        }
      }
      for (let line = 1; line < scale; line++) {
        pixels.copyWithin(start + line * canvas.width, start, start + canvas.width);
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }
}
