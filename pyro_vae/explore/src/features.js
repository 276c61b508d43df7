// Sliders and switches of the latent features, in the order of activity; choices of conditions.
import { card, element } from "./dom.js";
import { snapped } from "./model.js";

const DEAD = 0.01; // activity below which a unit counts as dead (Burda et al., 2016)
const SHOWN = 14;

export function createFeatures(model, store) {
  const body = element("div", { id: "features-body" }), root = card("Features", "features", body);
  let built = "", controls = [];
  store.on((state) => {
    const key = state.site + state.theme;
    if (built !== key) {
      built = key;
      controls = [];
      body.replaceChildren(...(model.page.grid ? [gridNote(model)] : build(model.site(state.site), store, controls, model)));
    }
    const z = (state.hover ?? state.point).z[state.site];
    for (const control of controls) control(z, state);
  });
  return root;
}

function gridNote(model) {
  return element("p", {}, `Sliders are off: points on a grid were decoded beforehand, ${model.page.reason}. `
    + "The picture is that of the nearest one.");
}

function setZ(store, site, z) {
  store.set({ point: { z: { ...store.state.point.z, [site.name]: snapped(site, z) }, c: store.state.point.c }, row: null, hover: null, over: null });
}

function build(site, store, controls, model) {
  if (site.support === "{0, 1}") return [switches(site, store, controls)];
  if (site.support === "one-hot blocks") return blocks(site, store, controls, model);
  const steps = site.shape.length > 1 ? site.shape[0] : 1, size = site.size / steps; // of a sequence
  const activity = (d) => Array.from({ length: steps }, (_, t) => site.activity[t * size + d]).reduce((a, b) => a + b, 0) / steps;
  const order = Array.from({ length: size }, (_, d) => d).sort((a, b) => activity(b) - activity(a));
  const alive = order.filter((d) => activity(d) > DEAD), dead = order.filter((d) => activity(d) <= DEAD);
  const made = (d) => slider(site, d, steps, size, activity(d), store, controls);
  const rest = [...alive.slice(SHOWN).map(made), ...dead.map(made)];
  const note = `${alive.length} of ${size} features are active: their mean differs from datum to datum.`
    + (steps > 1 ? " A slider moves a feature at all steps." : "");
  const more = alive.length > SHOWN ? `${alive.length - SHOWN} more` : "";
  const off = dead.length ? `${dead.length} dead, which data do not use` : "";
  return [
    element("p", {}, note), ...alive.slice(0, SHOWN).map(made),
    rest.length ? element("details", {}, element("summary", {}, [more, off].filter(Boolean).join(" and ")), ...rest) : null,
  ].filter(Boolean);
}

function slider(site, d, steps, size, activity, store, controls) {
  const at = Array.from({ length: steps }, (_, t) => t * size + d), rows = site.loc.length / site.size;
  const values = [];
  for (let n = 0; n < rows; n++) for (const i of at) values.push(site.loc[n * site.size + i]);
  for (let n = 0; n < site.prior.length / site.size; n++) values.push(site.prior[n * site.size + at[0]]);
  values.sort((a, b) => a - b);
  const ends = [values[Math.floor(0.002 * values.length)], values[Math.ceil(0.998 * (values.length - 1))]];
  const margin = 0.08 * (ends[1] - ends[0] || 1), low = ends[0] - margin, high = ends[1] + margin;
  const name = site.feature(d), rate = steps === 1 ? site.rate?.[d] : null;
  const facts = rate === null || rate === undefined ? `activity ${activity.toFixed(2)}` : `${rate.toFixed(2)} nats`;
  const input = element("input", { type: "range", min: low, max: high, step: (high - low) / 500, "aria-label": name, data: { feature: d } });
  const number = element("output", {});
  input.style.setProperty("--density", histogram(site, at, low, high));
  const middle = (z) => at.reduce((s, i) => s + z[i], 0) / at.length;
  input.addEventListener("input", () => {
    const z = Float32Array.from(store.state.point.z[site.name]), shift = Number(input.value) - middle(z);
    for (const i of at) z[i] += shift;
    setZ(store, site, z);
  });
  controls.push((z) => {
    const v = middle(z);
    if (document.activeElement !== input || Math.abs(Number(input.value) - v) > (high - low) / 400) input.value = v;
    number.textContent = v.toFixed(2);
  });
  return element("label", { className: `feature${activity <= DEAD ? " dead" : ""}`, title: `variance of its mean over data ${activity.toFixed(3)}${rate != null ? `, ${rate.toFixed(3)} nats of the KL term` : ""}` },
    element("span", {}, name, element("small", {}, facts)), input, number);
}

// Where the aggregate posterior of a feature is, as a gradient behind its slider.
function histogram(site, at, low, high) {
  const bins = new Array(28).fill(0), rows = site.loc.length / site.size;
  for (let n = 0; n < rows; n++) for (const i of at) {
    const mean = site.loc[n * site.size + i], sd = Math.max(site.scale[n * site.size + i], (high - low) / 60);
    const first = Math.max(0, Math.floor(((mean - 2.5 * sd - low) / (high - low)) * bins.length));
    const last = Math.min(bins.length - 1, Math.floor(((mean + 2.5 * sd - low) / (high - low)) * bins.length));
    for (let b = first; b <= last; b++) {
      const r = (low + ((b + 0.5) / bins.length) * (high - low) - mean) / sd;
      bins[b] += Math.exp(-0.5 * r * r) / sd;
    }
  }
  const most = Math.max(...bins, 1e-12);
  const stops = bins.map((v, b) => `rgb(var(--shade) / ${(0.75 * (v / most)).toFixed(2)}) ${(((b + 0.5) / bins.length) * 100).toFixed(1)}%`);
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}

function switches(site, store, controls) {
  const order = Array.from({ length: site.size }, (_, d) => d).sort((a, b) => site.activity[b] - site.activity[a]);
  return element("div", { className: "switches" }, ...order.map((d) => {
    const name = site.feature(d);
    const button = element("button", { role: "switch", data: { feature: d }, title: `activity ${site.activity[d].toFixed(2)}${site.activity[d] <= DEAD ? ", dead" : ""}`, className: site.activity[d] <= DEAD ? "dead" : "" }, name);
    button.addEventListener("click", () => {
      const z = Float32Array.from(store.state.point.z[site.name]);
      z[d] = 1 - z[d];
      setZ(store, site, z);
    });
    controls.push((z) => button.setAttribute("aria-checked", String(z[d] > 0.5)));
    return button;
  }));
}

function blocks(site, store, controls, model) {
  const size = site.categories || site.size, count = site.size / size;
  const names = model.labels?.names.length === size ? model.labels.names : Array.from({ length: size }, (_, i) => String(i));
  return Array.from({ length: count }, (_, b) => choice(count > 1 ? `${site.name}, block ${b + 1}` : site.name, names, (i) => {
    const z = Float32Array.from(store.state.point.z[site.name]);
    z.fill(0, b * size, (b + 1) * size);
    z[b * size + i] = 1;
    setZ(store, site, z);
  }, (show) => controls.push((z) => show(z.subarray(b * size, (b + 1) * size).indexOf(1)))));
}

// One of several names, as a row of buttons.
function choice(title, names, chosen, listen) {
  const buttons = names.map((name, i) => element("button", { role: "radio", data: { place: i }, on: { click: () => chosen(i) } }, name));
  listen((place) => buttons.forEach((b, i) => b.setAttribute("aria-checked", String(i === place))));
  return element("div", { className: "choice", role: "radiogroup", "aria-label": title }, element("span", {}, title), ...buttons);
}

// What data are given: the class of a conditional model, numbers, or parts of an image.
export function createConditions(model, store) {
  if (!model.conditions.length) return null;
  const controls = [];
  const setC = (name, values) => store.set({ point: { z: store.state.point.z, c: { ...store.state.point.c, [name]: values } }, row: null, hover: null, over: null });
  const made = model.conditions.flatMap((given) => {
    if (given.kind === "class") {
      return [choice(given.name, given.names, (i) => setC(given.name, Float32Array.from({ length: given.size }, (_, k) => +(k === i))),
        (show) => controls.push((c) => show(c[given.name].indexOf(1))))];
    }
    if (given.size > 12) return [element("p", {}, `${given.name} is that of the datum you took last (${given.size} numbers).`)];
    return given.low.map((low, d) => {
      const high = given.high[d] > low ? given.high[d] : low + 1, name = given.size > 1 ? `${given.name}${d + 1}` : given.name;
      const input = element("input", { type: "range", min: low, max: high, step: (high - low) / 500, "aria-label": name }), number = element("output", {});
      input.addEventListener("input", () => {
        const values = Float32Array.from(store.state.point.c[given.name]);
        values[d] = Number(input.value);
        setC(given.name, values);
      });
      controls.push((c) => {
        if (document.activeElement !== input) input.value = c[given.name][d];
        number.textContent = c[given.name][d].toFixed(2);
      });
      return element("label", { className: "feature" }, element("span", {}, name), input, number);
    });
  });
  store.on((state) => controls.forEach((control) => control(state.point.c)));
  return card("Given", "conditions", element("p", {}, "The same z under another condition:"), ...made);
}
