// What the page shows, kept in the address so that a link brings it back.
export class Store {
  constructor(state) {
    this.state = state;
    this.listeners = [];
    this.waiting = null;
  }

  // Listeners are called once a frame with the names of what has changed.
  on(listener) {
    this.listeners.push(listener);
  }

  set(changes) {
    Object.assign(this.state, changes);
    const names = Object.keys(changes);
    if (this.waiting) names.forEach((name) => this.waiting.add(name));
    else {
      this.waiting = new Set(names);
      requestAnimationFrame(() => this.flush());
    }
  }

  flush() {
    const changed = this.waiting;
    this.waiting = null;
    if (changed) this.listeners.forEach((listener) => listener(this.state, changed));
  }
}

const number = (v) => String(Number(v.toFixed(3)));
const text = (values) => Array.from(values, number).join(",");
const numbers = (words) => Float32Array.from(words.split(","), Number);

function pointText({ z, c }, sep) {
  return [...Object.values(z), ...Object.values(c)].map(text).join(sep);
}

function pointFrom(words, model, sep) {
  const parts = words.split(sep).map(numbers), z = {}, c = {};
  const wanted = [...model.sites, ...model.conditions];
  if (parts.length !== wanted.length) return null;
  for (const [i, part] of parts.entries()) {
    if (part.length !== wanted[i].size || part.some((v) => !Number.isFinite(v))) return null;
    (i < model.sites.length ? z : c)[wanted[i].name] = part;
  }
  return { z, c };
}

export function write(state) {
  const words = new URLSearchParams();
  words.set("site", state.site);
  words.set("axes", state.axes.join("-"));
  words.set("colour", state.colour);
  if (!state.shaded) words.set("shaded", "no");
  if (state.only !== null) words.set("only", state.only);
  if (state.theme) words.set("theme", state.theme);
  words.set("at", pointText(state.point, "_"));
  if (state.pins.length) words.set("pins", state.pins.map((pin) => pointText(pin, "_")).join("~"));
  return words.toString();
}

export function read(hash, model) {
  const words = new URLSearchParams(hash.replace(/^#/, "")), found = {};
  if (model.site(words.get("site"))) found.site = words.get("site");
  const size = model.site(found.site ?? model.sites[0].name).size;
  const axes = (words.get("axes") ?? "").split("-");
  const known = (a) => a === "p" || (/^\d+$/.test(a) && Number(a) < size);
  if (axes.length === 2 && axes.every(known)) found.axes = axes;
  if (words.has("colour")) found.colour = words.get("colour");
  if (words.get("shaded") === "no") found.shaded = false;
  if (words.has("only")) found.only = Number(words.get("only"));
  if (["light", "dark"].includes(words.get("theme"))) found.theme = words.get("theme");
  const point = words.has("at") && pointFrom(words.get("at"), model, "_");
  if (point) found.point = point;
  const pins = (words.get("pins") ?? "").split("~").filter(Boolean).map((w) => pointFrom(w, model, "_"));
  if (pins.every(Boolean)) found.pins = pins;
  return found;
}
