// The card of a point: what it decodes to, how dense it is there, where it came from.
import { card, element } from "./dom.js";
import { level } from "./model.js";
import { isPicture, paint, table } from "./picture.js";

const DRAWS = 24; // for the intervals of a table

export function createPoint(model, store) {
  const pictures = isPicture(model.page), [mean, draw, given] = [0, 1, 2].map(() => element("canvas", { className: "picture" }));
  const shown = (canvas, text, id) => element("figure", { id }, canvas, element("figcaption", {}, text));
  const held = (site) => model.sites.map((s) => s.name).filter((name) => !(model.page.drawn[site] ?? []).includes(name));
  const law = (c, site) => `p(x | ${[...held(site), ...model.conditions.map((g) => (g.kind === "class" ? `${g.name} = ${g.names[c[g.name].indexOf(1)]}` : g.name))].join(", ")})`;
  const figures = element("div", { className: "figures" },
    shown(mean, "mean of p(x | z)", "mean"), shown(draw, "a draw from p(x | z)", "draw"), shown(given, "the datum itself", "given"));
  const columns = element("div", { className: "columns", id: "columns" });
  const where = element("p", { id: "where" }), gauge = element("i"), dense = element("p", { id: "dense", "aria-live": "polite" });
  const again = element("button", { id: "again", title: "Another draw from p(x | z) (d)", on: { click: () => store.set({ seed: store.state.seed + 1 }) } }, "Draw again");
  const title = element("span", {}, "The point");
  const root = element("section", { className: `card ${model.page.x.form === "sequence" ? "wide" : ""}`, id: "point" },
    element("h2", {}, title, again), where, pictures ? figures : columns,
    model.page.x.form === "sequence" ? element("p", { className: "key" }, "→ time, ↑ elements of a step, such as bands; grey: nothing is there") : null,
    pictures ? null : element("p", { className: "key" },
      element("i", { className: "mean" }), " mean ", element("i", { className: "interval" }), " 90 % of draws ", element("i", { className: "draw" }), " a draw"),
    element("div", { className: "gauge", title: "The share of the data's own z that lie where q(z) is lower" }, gauge), dense);

  store.on((state) => {
    const point = state.hover ?? state.point, row = state.over ?? (state.hover ? null : state.row);
    title.textContent = state.hover ? "Under the pointer" : "The point";
    where.replaceChildren(whereText(model, state, row));
    const { mean: m, draw: d } = model.decode(point, state.site, state.seed);
    root.classList.toggle("drawless", d === null);
    mean.nextSibling?.replaceChildren(`mean of ${law(point.c, state.site)}`);
    draw.nextSibling?.replaceChildren(`a draw from ${law(point.c, state.site)}`);
    const x = row !== null ? model.data[row] : !state.hover && state.own ? state.own.x : null;
    if (pictures) {
      paint(mean, model, m, point.c);
      if (d) paint(draw, model, d, point.c);
      given.parentElement.hidden = !x;
      given.nextSibling.textContent = row !== null ? "the datum itself" : "your own x";
      if (x) paint(given, model, x, row !== null ? conditionsOf(model, row) : point.c);
    } else {
      const some = d ? Array.from({ length: DRAWS }, (_, k) => model.decode(point, state.site, state.seed + 100 + k).draw) : [];
      table(columns, model, m, d, some);
    }
    const site = model.site(state.site), share = level(site, point.z[site.name]);
    root.classList.toggle("empty", share !== null && share < 0.01);
    gauge.style.width = `${100 * (share ?? 0)}%`;
    gauge.parentElement.hidden = share === null;
    dense.textContent = densityText(site, share);
    window.explorer.shown = { mean: m, draw: d, point, level: share };
  });
  return root;
}

function conditionsOf(model, row) {
  return Object.fromEntries(model.conditions.map((c) => [c.name, c.values.subarray(row * c.size, (row + 1) * c.size)]));
}

function densityText(site, share) {
  if (share === null) return site.support === "the unit sphere" ? "On the sphere." : "Switches are set to a value of z that exists.";
  if (share < 0.01) return "Nobody lives here: q(z) is lower than at 99 % of the data's own z.";
  if (share < 0.1) return `Sparsely inhabited: q(z) is higher than at only ${Math.max(1, Math.round(100 * share))} % of the data's own z.`;
  if (share > 0.99) return "Densely peopled: q(z) is higher than at 99 % of the data's own z.";
  return `Inhabited: q(z) is higher than at ${Math.round(100 * share)} % of the data's own z.`;
}

export function nameOf(model, row) {
  const { labels } = model;
  if (!labels) return `row ${model.rows[row]}`;
  const label = labels.values[row];
  const text = labels.kind === "class" ? labels.names[label] ?? "none" : Number(label.toPrecision(4));
  return `row ${model.rows[row]}, label ${text}`;
}

function whereText(model, state, row) {
  if (row === null) {
    if (state.own && !state.hover) return "The mean of q(z | x) of your own x.";
    return state.hover ? "Click to move there; click on a datum to take its z." : "Not a datum: chosen by hand.";
  }
  const parts = [nameOf(model, row).replace("row", "Row")];
  if (model.scores) {
    const f = (name) => model.scores[name][row].toFixed(1);
    parts.push(`log p(x) ${f("log_p")}, ELBO ${f("elbo")}, KL ${f("kl")} nats`);
  }
  return `${parts.join(". ")}.`;
}

// The nearest data of the point.
export function createNearest(model, store, nearest) {
  const list = element("div", { className: `strip${isPicture(model.page) ? "" : " named"}`, id: "neighbours" });
  const pictures = isPicture(model.page);
  store.on((state, changed) => {
    if (!["point", "site", "theme"].some((n) => changed.has(n))) return;
    const site = model.site(state.site), rows = nearest(site, state.point.z[site.name], 8);
    list.replaceChildren(...rows.map((row) => {
      const canvas = element("canvas", { className: "picture" });
      if (pictures) paint(canvas, model, model.data[row], conditionsOf(model, row));
      const button = element("button", { title: `Take the z of ${nameOf(model, row)}`, data: { row } },
        pictures ? canvas : null, element("small", {}, pictures && model.labels ? nameOf(model, row).split("label ")[1] : nameOf(model, row)));
      button.addEventListener("click", () => store.set({ take: row }));
      return button;
    }));
  });
  return card("Nearest data", "nearest", list);
}
