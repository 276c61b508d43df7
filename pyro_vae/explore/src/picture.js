// Draws a datum: an image, a sequence, or a table.
import { scaleColour } from "./colours.js";

export function isPicture(page) {
  return page.x.form !== "table";
}

// Width and height in pixels of data.
export function sizeOf({ x }) {
  if (x.form === "image") return [x.picture[2], x.picture[1]];
  return [x.shape[0], x.shape[1]];
}

// Paints x; what is given of the image by a condition is painted with it.
export function paint(canvas, model, values, c = {}) {
  const { x } = model.page, [width, height] = sizeOf(model.page);
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height), span = x.high - x.low || 1;
  const grey = (v) => (255 * (v - x.low)) / span;
  const dot = (place, r, g, b) => image.data.set([r, g, b, 255], 4 * place);
  if (x.form === "sequence") {
    const dark = document.documentElement.dataset.theme;
    for (let t = 0; t < width; t++) for (let d = 0; d < height; d++) {
      const v = values[t * height + d], place = (height - 1 - d) * width + t;
      if (Number.isNaN(v)) dot(place, 128, 128, 128); // padding
      else dot(place, ...scaleColour((v - x.low) / span, dark).match(/\d+/g).map(Number));
    }
  } else {
    const whole = wholeImage(model, values, c), count = width * height, colours = x.picture[0];
    for (let i = 0; i < count; i++) {
      const v = Array.from({ length: 3 }, (_, k) => whole[(colours === 3 ? k * count : 0) + i]);
      if (v.some(Number.isNaN)) dot(i, 176, 196, 222);
      else dot(i, ...v.map(grey));
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function wholeImage(model, values, c) {
  const { x } = model.page, names = Object.keys(x.places);
  if (!names.length) return values;
  const whole = new Float32Array(x.picture[0] * x.picture[1] * x.picture[2]).fill(NaN);
  for (const name of names) {
    const part = name === "x" ? values : c[name];
    if (part) model.arrays[x.places[name]].forEach((place, i) => { whole[place] = part[i] * (name === "x" ? 1 : x.unit); });
  }
  return whole;
}

// What a number of a column is called.
export function said(column, v) {
  if (Number.isNaN(v)) return "missing";
  if (column.categories.length && Number.isInteger(v)) return column.categories[v] ?? String(v);
  const size = Math.max(Math.abs(column.high), Math.abs(column.low), 1e-9);
  return column.whole && Number.isInteger(v) ? String(v) : v.toFixed(Math.max(0, Math.min(4, 3 - Math.ceil(Math.log10(size)))));
}

// A bar for each column from its low to its high end: the mean, the middle 90 % of draws, a draw.
export function table(root, model, mean, draw, draws) {
  const { columns } = model.page;
  root.replaceChildren(...columns.map((column, i) => {
    const share = (v) => Math.min(100, Math.max(0, (100 * (v - column.low)) / (column.high - column.low || 1)));
    const row = document.createElement("div"), track = document.createElement("div");
    row.className = "column";
    track.className = "track";
    const name = document.createElement("span"), value = document.createElement("span");
    name.textContent = name.title = column.name;
    value.textContent = said(column, mean[i]);
    value.className = "number";
    const add = (kind, style) => {
      const mark = document.createElement("i");
      mark.className = kind;
      Object.assign(mark.style, style);
      track.append(mark);
    };
    if (draws.length) {
      const sorted = draws.map((d) => d[i]).sort((a, b) => a - b), at = (q) => sorted[Math.round(q * (sorted.length - 1))];
      add("interval", { left: `${share(at(0.05))}%`, width: `${Math.max(0.5, share(at(0.95)) - share(at(0.05)))}%` });
    }
    add("mean", { left: `${share(mean[i])}%` });
    if (draw) add("draw", { left: `${share(draw[i])}%` });
    track.title = draw ? `mean ${said(column, mean[i])}, draw ${said(column, draw[i])}` : `mean ${said(column, mean[i])}`;
    row.append(name, track, value);
    return row;
  }));
}
