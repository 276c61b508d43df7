// The page: puts the cards together.
import { createConditions, createFeatures } from "./features.js";
import { card, element } from "./dom.js";
import { classColour } from "./colours.js";
import { byNumber, createMap } from "./map.js";
import { nearest, open, pointOf } from "./model.js";
import { createOwn } from "./own.js";
import { createPins } from "./pins.js";
import { createNearest, createPoint } from "./point.js";
import { snippet } from "./python.js";
import { read, Store, write } from "./state.js";

const COLOURS = { label: "label", log_p: "log p(x)", elbo: "ELBO", kl: "KL term", ess: "trust in log p(x)", none: "one colour" };
const UNITS = { label: "", ess: " % of 64 draws count" }; // others are in nats

async function start() {
  const page = JSON.parse(document.getElementById("data").textContent);
  const model = await open(page);
  const store = new Store({
    site: model.sites[0].name, axes: ["p", "p"], colour: model.labels ? "label" : model.scores ? "log_p" : "none",
    shaded: true, only: null, theme: null, point: pointOf(model, 0), row: 0, pins: [], seed: 1, hover: null, over: null, own: null,
    ...(location.hash ? { row: null } : {}), ...read(location.hash, model),
  });
  window.explorer = { model, store, map: null, shown: null };
  applyTheme(store.state);
  store.on((state, changed) => {
    if (changed.has("theme")) applyTheme(state);
    if (changed.has("take")) store.set({ point: pointOf(model, state.take), row: state.take, own: null, hover: null, over: null });
  });
  const mapCard = card("Where data live", "map"), left = element("div", { className: "left" }, mapCard);
  const controls = element("div", { className: "controls" }), legend = element("div", { className: "legend" });
  mapCard.append(controls);
  const map = createMap(mapCard, model, store);
  window.explorer.map = map;
  mapCard.append(legend);
  const right = element("div", { className: "right" }), cards = (...some) => some.filter(Boolean);
  right.append(...cards(createPoint(model, store), createConditions(model, store), createFeatures(model, store), createPins(model, store)));
  left.append(...cards(createNearest(model, store, nearest), createOwn(model, store)));
  document.getElementById("page").append(header(model, store, map), element("main", {}, left, right), footer(model));
  createControls(controls, model, store);
  createLegend(legend, model, store, map);
  keyboard(model, store, map);
  let waiting = null;
  store.on((state) => { // the address follows, a moment later
    clearTimeout(waiting);
    waiting = setTimeout(() => history.replaceState(null, "", `#${write(state)}`), 250);
  });
  addEventListener("hashchange", () => store.set({ ...read(location.hash, model), row: null }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => store.set({ theme: store.state.theme }));
  store.set({ ...store.state });
  store.flush();
  window.explorer.ready = true;
}

function applyTheme(state) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = state.theme ?? (dark ? "dark" : "light");
}

// --- Above the cards --------------------------------------------------------------------------

function header(model, store, map) {
  const copy = element("button", { id: "copy", title: "Copy a snippet of Python that reproduces the point (c)" }, "Copy as Python");
  copy.addEventListener("click", async () => {
    const text = snippet(model, store.state);
    window.explorer.copied = text;
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch { // no permission: show it
      dialog("As Python", element("pre", {}, text));
    }
    setTimeout(() => { copy.textContent = "Copy as Python"; }, 1500);
  });
  const theme = element("button", { id: "theme", title: "Dark or light (t)", on: { click: () =>
    store.set({ theme: document.documentElement.dataset.theme === "dark" ? "light" : "dark" }) } }, "◐");
  const help = element("button", { id: "help", title: "Keys and words (?)", on: { click: () => dialog("Keys and words", ...helpText(model)) } }, "?");
  const tabs = model.sites.length < 2 ? null : element("div", { className: "tabs", role: "tablist", "aria-label": "Latent site" },
    ...model.sites.map((site) => element("button", { role: "tab", data: { site: site.name }, title: `${site.size} features`, on: { click: () => store.set({ site: site.name, axes: ["p", "p"] }) } }, site.name)));
  store.on((state) => tabs?.querySelectorAll("button").forEach((b) => b.setAttribute("aria-selected", String(b.dataset.site === state.site))));
  return element("header", {}, element("h1", {}, model.page.title || "Latent explorer"), tabs, element("div", { className: "buttons" }, copy, theme, help));
}

function helpText(model) {
  const keys = [["arrows", "move the point in the map, with Shift further"], ["p", "pin the point"], ["d", "draw again"], ["n", "take the nearest datum"],
    ["r", "take a random datum"], ["c", "copy as Python"], ["s", "shade densities or not"], ["t", "dark or light"], ["+ − 0", "zoom"], ["?", "this"]];
  const words = [["q(z | x)", "where the encoder places a datum, an ellipse of one and two standard deviations"],
    ["q(z)", "the average over data: shaded"], ["p(z)", "the prior: dashed lines around 50 % and 95 % of it"],
    ["hatched", "holes: the prior has mass there, and no datum lives there; what is decoded there is made up"],
    ["mean, draw", "p(x | z) is a distribution: its mean is smoother than anything drawn from it"],
    ["active", "the mean of a feature varies by more than 0.01 over data"]];
  const rows = (pairs) => element("table", {}, ...pairs.map(([a, b]) => element("tr", {}, element("th", {}, a), element("td", {}, b))));
  const about = model.sites.some((s) => s.size > 2) ? "In more than two dimensions the map is a plane through the point; density is that of all dimensions, by the moments of each q(z | x)." : "";
  return [rows(keys), rows(words), element("p", {}, about)];
}

function dialog(title, ...children) {
  const box = element("dialog", {}, element("h2", {}, title, element("button", { on: { click: () => box.close() } }, "Close")), ...children);
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
}

function footer(model) {
  const { page } = model, parts = [`${model.count} data`];
  parts.push(page.grid ? `decoded beforehand on a grid of ${page.grid[model.sites[0].name].side} by ${page.grid[model.sites[0].name].side} points, ${page.reason}`
    : `the model runs in this page${page.half ? ", its weights in half precision" : ""}`);
  parts.push("nothing is loaded or sent");
  return element("footer", {}, `${parts.join("; ")}.`);
}

// --- Above the map -----------------------------------------------------------------------------

function createControls(root, model, store) {
  const colour = element("select", { id: "colour", "aria-label": "Colour" });
  const known = Object.keys(COLOURS).filter((n) => n === "none" || (n === "label" ? model.labels : model.scores?.[n]));
  colour.append(...known.map((n) => element("option", { value: n }, COLOURS[n])));
  colour.addEventListener("change", () => store.set({ colour: colour.value, only: null }));
  const axes = [0, 1].map((i) => {
    const select = element("select", { id: `axis${i + 1}`, "aria-label": i ? "Axis upwards" : "Axis to the right" });
    select.addEventListener("change", () => store.set({ axes: store.state.axes.map((a, k) => (k === i ? select.value : a)) }));
    return select;
  });
  const shaded = element("input", { type: "checkbox", id: "shaded" });
  shaded.addEventListener("change", () => store.set({ shaded: shaded.checked }));
  const pair = element("span", {}, element("label", {}, "axes ", axes[0]), axes[1]);
  root.append(element("label", {}, "colour ", colour), pair, element("label", { className: "shading" }, shaded, " densities"));
  let built = "";
  store.on((state) => {
    const site = model.site(state.site);
    if (built !== state.site) {
      built = state.site;
      axes.forEach((select, i) => select.replaceChildren(
        element("option", { value: "p" }, site.size > 2 ? `principal ${i + 1}` : site.feature(Math.min(i, site.size - 1))),
        ...(site.size > 2 ? Array.from({ length: site.size }, (_, d) => d).sort((a, b) => site.activity[b] - site.activity[a])
          .map((d) => element("option", { value: d }, site.feature(d))) : [])));
      pair.hidden = site.size <= 2 || Boolean(model.page.grid);
      shaded.parentElement.hidden = site.support !== "the real numbers";
    }
    axes.forEach((select, i) => { select.value = state.axes[i]; });
    colour.value = state.colour;
    shaded.checked = state.shaded;
  });
}

function createLegend(root, model, store, map) {
  store.on((state, changed) => {
    if (!["colour", "only", "theme", "site", "axes", "shaded"].some((n) => changed.has(n))) return;
    const [right, up] = map.names(), parts = [];
    if (state.colour === "label" && model.labels?.kind === "class") {
      parts.push(element("div", { className: "chips" }, ...model.labels.names.map((name, i) => {
        const chip = element("button", { className: state.only !== null && state.only !== i ? "faint" : "", data: { label: i }, title: "Show these alone", "aria-pressed": String(state.only === i), on: { click: () => store.set({ only: state.only === i ? null : i }) } }, element("i"), name);
        chip.firstChild.style.background = classColour(i);
        return chip;
      })));
    } else if (state.colour !== "none") {
      const values = state.colour === "label" ? model.labels.values : model.scores[state.colour];
      const { low, high, colours } = byNumber(values, document.documentElement.dataset.theme), bar = element("i", { className: "bar" });
      bar.style.background = `linear-gradient(90deg, ${colours.join(", ")})`;
      parts.push(element("div", { className: "scale" }, `${COLOURS[state.colour]}  ${low.toPrecision(4)} `, bar, ` ${high.toPrecision(4)}${UNITS[state.colour] ?? " nats"}`));
    }
    if (model.site(state.site).support === "the real numbers" && state.shaded) {
      parts.push(element("div", { className: "key" }, element("i", { className: "q" }), "q(z), where data live ", element("i", { className: "p" }), "p(z), 50 and 95 % ", element("i", { className: "hole" }), "a hole"));
    }
    parts.push(element("p", { className: "axes" }, element("span", {}, `→ ${right}`), up ? element("span", {}, `↑ ${up}`) : null));
    root.replaceChildren(...parts);
  });
}

// --- Keys ---------------------------------------------------------------------------------------

function keyboard(model, store, map) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const take = (row) => store.set({ take: row });
  const keys = {
    p: () => document.getElementById("pin").click(), d: () => document.getElementById("again").click(),
    c: () => document.getElementById("copy").click(), t: () => document.getElementById("theme").click(),
    "?": () => document.getElementById("help").click(), s: () => store.set({ shaded: !store.state.shaded }),
    n: () => take(nearest(model.site(store.state.site), store.state.point.z[store.state.site], 1)[0]),
    Enter: () => keys.n(), r: () => take(Math.floor(Math.random() * model.count)),
    "+": () => map.zoom(0.8), "-": () => map.zoom(1.25), 0: () => map.zoom(null),
  };
  addEventListener("keydown", (event) => {
    const inside = event.target.closest?.("input, select, textarea, dialog, summary"), onButton = event.target.closest?.("button");
    if (inside || event.ctrlKey || event.metaKey || event.altKey || (onButton && event.key === "Enter")) return;
    if (event.key in moves) {
      const [x, y] = moves[event.key], step = event.shiftKey ? 0.08 : 0.015;
      map.move(x * step, y * step);
    } else if (event.key in keys) keys[event.key]();
    else return;
    event.preventDefault();
  });
}

start().catch((error) => {
  document.getElementById("page").append(element("p", { className: "warning" }, `The page could not start: ${error.message}`));
  throw error;
});
