// Data of one's own: drawn, dropped or typed, encoded here, with the terms of their bound.
import { card, element } from "./dom.js";
import { isPicture, said } from "./picture.js";

export function createOwn(model, store) {
  const { page } = model, about = (text) => card("Data of your own", "own", element("p", {}, text));
  if (!model.look) return page.unseen ? about(page.unseen) : null;
  const result = element("div", { id: "terms", "aria-live": "polite" });
  const use = (x) => {
    const c = store.state.point.c, found = model.look(x, c, 1);
    store.set({ own: { x, ...found }, point: { z: found.z, c }, row: null, hover: null, over: null });
    result.replaceChildren(...terms(model, found));
  };
  let input;
  if (page.x.form === "image" && !Object.keys(page.x.places).length) input = pad(model, use);
  else if (!isPicture(page)) input = fields(model, store, use);
  else return about("Only images and rows can be drawn or typed here: pv.encode(vae, x) places others.");
  return card(page.x.form === "image" ? "Draw or drop an image" : "A row of your own", "own", input, result);
}

function terms(model, { likelihood, kl, bound }) {
  const f = ({ mean, error }) => `${mean.toFixed(1)} ± ${Math.max(error, 0.05).toFixed(1)}`;
  const line = (name, term) => element("tr", {}, element("th", {}, name), element("td", {}, f(term)));
  const lines = element("table", {}, line("E log p(x | z)", likelihood), line("− KL(q ‖ p)", { mean: -kl.mean, error: kl.error }), line("ELBO, nats", bound));
  if (!model.scores) return [lines];
  const lower = model.scores.elbo.filter((v) => v < bound.mean).length / model.count;
  const text = lower < 0.01 ? "Unlike the data: 99 % of them have a higher ELBO."
    : `The ELBO of ${Math.round(100 * lower)} % of the data is lower.`;
  return [lines, element("p", { className: lower < 0.01 ? "warning" : "" }, text)];
}

// --- Images -----------------------------------------------------------------------------------

function pad(model, use) {
  const { x } = model.page, [channels, height, width] = x.picture, count = width * height;
  const values = new Float32Array(count); // grey, 0 to 1
  const canvas = element("canvas", { className: "picture pad", width, height, id: "pad", "aria-label": "Draw here" });
  const context = canvas.getContext("2d");
  const show = () => {
    const image = new ImageData(width, height);
    values.forEach((v, i) => image.data.set([255 * v, 255 * v, 255 * v, 255], 4 * i));
    context.putImageData(image, 0, 0);
  };
  const encode = () => {
    const of = (v) => {
      const scaled = x.low + v * (x.high - x.low);
      return x.whole ? Math.round(scaled) : scaled;
    };
    use(Float32Array.from({ length: channels * count }, (_, i) => of(values[i % count])));
  };
  const stroke = (event) => {
    const box = canvas.getBoundingClientRect(), radius = Math.max(0.75, width / 18);
    const cx = ((event.clientX - box.left) / box.width) * width - 0.5, cy = ((event.clientY - box.top) / box.height) * height - 0.5;
    for (let j = 0; j < height; j++) for (let i = 0; i < width; i++) {
      const distance = Math.hypot(i - cx, j - cy), ink = Math.min(1, Math.max(0, radius + 0.5 - distance));
      values[j * width + i] = event.shiftKey ? values[j * width + i] * (1 - ink) : Math.max(values[j * width + i], ink);
    }
    show();
    encode();
  };
  let drawing = false;
  canvas.addEventListener("pointerdown", (event) => {
    drawing = true;
    canvas.setPointerCapture(event.pointerId);
    stroke(event);
  });
  canvas.addEventListener("pointermove", (event) => drawing && stroke(event));
  canvas.addEventListener("pointerup", () => { drawing = false; });
  const load = async (file) => {
    if (!file?.type.startsWith("image/")) return;
    const bitmap = await createImageBitmap(file), small = element("canvas", { width, height }).getContext("2d");
    small.imageSmoothingQuality = "high";
    const scale = Math.min(width / bitmap.width, height / bitmap.height), [w, h] = [bitmap.width * scale, bitmap.height * scale];
    small.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
    const { data } = small.getImageData(0, 0, width, height);
    values.forEach((_, i) => { values[i] = ((data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 765) * (data[4 * i + 3] / 255); });
    show();
    encode();
  };
  const file = element("input", { type: "file", accept: "image/*", id: "file", "aria-label": "Choose an image" });
  file.addEventListener("change", () => load(file.files[0]));
  const change = (f) => () => {
    values.forEach((v, i) => { values[i] = f(v); });
    show();
    encode();
  };
  const root = element("div", { className: "own" }, canvas, element("div", { className: "tools" },
    element("button", { id: "clear", on: { click: change(() => 0) } }, "Clear"),
    element("button", { id: "invert", on: { click: change((v) => 1 - v) } }, "Invert"),
    element("label", { className: "button" }, "Open …", file),
    element("small", {}, "Shift erases. The encoder runs in this page; your image stays here.")));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    load(event.dataTransfer.files[0]);
  });
  show();
  return root;
}

// --- Tables -----------------------------------------------------------------------------------

function fields(model, store, use) {
  const { columns } = model.page;
  const inputs = columns.map((column) => {
    if (column.categories.length) {
      return element("select", { "aria-label": column.name }, ...column.categories.map((name, i) => element("option", { value: i }, name)));
    }
    return element("input", { type: "number", step: "any", "aria-label": column.name });
  });
  const fill = (x) => inputs.forEach((input, i) => { input.value = Number.isNaN(x[i]) ? "" : columns[i].categories.length ? x[i] : Number(x[i].toPrecision(5)); });
  const read = () => Float32Array.from(inputs, (input) => (input.value === "" ? NaN : Number(input.value)));
  inputs.forEach((input) => input.addEventListener("change", () => use(read())));
  fill(model.data[0]);
  store.on((state, changed) => {
    if (changed.has("row") && state.row !== null) fill(model.data[state.row]);
  });
  return element("details", {}, element("summary", {}, "Change a row and see where it goes"),
    element("div", { className: "fields" }, ...columns.map((column, i) =>
      element("label", { title: `from ${said(column, column.low)} to ${said(column, column.high)}` }, element("span", {}, column.name), inputs[i]))),
    element("button", { id: "encode", on: { click: () => use(read()) } }, "Encode"));
}
