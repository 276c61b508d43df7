// Pinned points, and the way from one to the next.
import { card, element } from "./dom.js";
import { snapped } from "./model.js";
import { isPicture, paint } from "./picture.js";

const STEPS = 9;

// A point between two, site by site.
export function between(model, a, b, share) {
  const mix = (x, y) => Float32Array.from(x, (v, i) => v + share * (y[i] - v));
  const z = Object.fromEntries(model.sites.map((site) => [site.name, snapped(site, mix(a.z[site.name], b.z[site.name]))]));
  const c = Object.fromEntries(model.conditions.map((given) => [given.name,
    given.kind === "class" ? (share < 0.5 ? a : b).c[given.name] : mix(a.c[given.name], b.c[given.name])]));
  return { z, c };
}

export function createPins(model, store) {
  const pictures = isPicture(model.page), pinned = element("div", { className: "strip", id: "pinned" });
  const path = element("div", { className: "strip", id: "path" });
  const walk = element("input", { type: "range", min: 0, max: 1, step: 0.005, value: 0, id: "walk", "aria-label": "Walk from the first pin to the last" });
  const hint = element("p", {});
  const pin = element("button", { id: "pin", title: "Pin the point (p)", on: { click: () => store.set({ pins: [...store.state.pins, store.state.point] }) } }, "Pin the point");
  const clear = element("button", { id: "unpin", on: { click: () => store.set({ pins: [] }) } }, "Remove all");
  const root = card("Pins", "pins", hint, pinned, path, walk);
  root.querySelector("h2").append(pin, clear);

  const along = (share, pins) => {
    const place = share * (pins.length - 1), i = Math.min(pins.length - 2, Math.floor(place));
    return between(model, pins[i], pins[i + 1], place - i);
  };
  walk.addEventListener("input", () => store.set({ point: along(Number(walk.value), store.state.pins), row: null, hover: null, over: null }));
  const thumbnail = (point, title, click) => {
    const canvas = element("canvas", { className: "picture" });
    if (pictures) paint(canvas, model, model.decode(point, store.state.site).mean, point.c);
    return element("button", { title, on: { click } }, pictures ? canvas : element("small", {}, title));
  };
  store.on((state, changed) => {
    if (!["pins", "site", "theme"].some((n) => changed.has(n))) return;
    const { pins } = state, several = pins.length > 1;
    hint.textContent = pins.length === 0 ? "Pin two points and see what lies between them." : several ? "From pin to pin:" : "Pin another one to see what lies between.";
    clear.hidden = !pins.length;
    walk.hidden = path.hidden = !several;
    pinned.replaceChildren(...pins.map((p, i) => {
      const button = thumbnail(p, `pin ${i + 1}`, () => store.set({ point: p, row: null, own: null }));
      const drop = element("button", { className: "drop", title: `Remove pin ${i + 1}`, on: { click: () => store.set({ pins: pins.filter((_, k) => k !== i) }) } }, "×");
      return element("div", { className: "pinned" }, button, drop);
    }));
    path.replaceChildren(...(several ? Array.from({ length: STEPS }, (_, k) => {
      const share = k / (STEPS - 1), point = along(share, pins);
      return thumbnail(point, `${Math.round(100 * share)} % of the way`, () => store.set({ point, row: null, own: null }));
    }) : []));
  });
  return root;
}
