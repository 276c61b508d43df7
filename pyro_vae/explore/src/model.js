// The model of the page: decodes points, encodes data, knows how dense a place is.
import { unpack } from "./arrays.js";
import { compile, inputsOf } from "./graph.js";
import * as random from "./random.js";

const DRAWS = 16; // of sites that are drawn, for a mean over them
const LOOKS = 48; // draws from q(z | x) for the terms of its bound

export async function open(page) {
  const arrays = await Promise.all(page.arrays.map(unpack));
  const model = { page, arrays, count: page.count };
  model.sites = page.sites.map((site) => opened(site, arrays, page.sites.length > 1));
  model.conditions = page.conditions.map((c) => ({ ...c, values: arrays[c.values] }));
  model.data = rowsOf(arrays[page.x.values.array], page.x.size, page.x.values.factor);
  model.labels = page.labels && { ...page.labels, values: arrays[page.labels.values] };
  model.rows = arrays[page.rows];
  model.scores = page.scores && Object.fromEntries(
    Object.entries(page.scores).map(([name, i]) => [name, arrays[i]]));
  const graphs = Object.fromEntries(
    Object.entries(page.graphs).map(([name, graph]) => [name, { run: compile(graph, arrays), inputs: inputsOf(graph) }]));
  model.site = (name) => model.sites.find((s) => s.name === name);
  model.decode = page.grid ? gridDecoder(model) : decoder(model, graphs);
  model.look = graphs.look ? looker(model, graphs.look) : null;
  return model;
}

function opened(site, arrays, several) {
  const loc = arrays[site.loc], scale = arrays[site.scale].map((s) => Math.max(s, 1e-6));
  return {
    ...site, loc, scale,
    feature: (d) => (several ? `${site.name}.${d + 1}` : `${site.name}${d + 1}`),
    prior: arrays[site.prior],
    centre: arrays[site.centre],
    directions: rowsOf(arrays[site.directions], site.size, 1),
    constant: Array.from({ length: loc.length / site.size }, (_, n) => {
      let sum = 0;
      for (let d = 0; d < site.size; d++) sum += Math.log(scale[n * site.size + d]);
      return -sum - 0.5 * site.size * Math.log(2 * Math.PI);
    }),
  };
}

function rowsOf(values, size, factor) {
  return Array.from({ length: values.length / size }, (_, i) => {
    const row = values.subarray(i * size, (i + 1) * size);
    return factor === 1 ? row : row.map((v) => v / factor);
  });
}

// --- A point: values of latent sites and conditions -------------------------------------------

export function pointOf(model, row) { // where the model places a datum
  const z = {}, c = {};
  for (const site of model.sites) z[site.name] = snapped(site, site.loc.slice(row * site.size, (row + 1) * site.size));
  for (const given of model.conditions) c[given.name] = given.values.slice(row * given.size, (row + 1) * given.size);
  return { z, c };
}

// The nearest value on the support of a site.
export function snapped(site, z) {
  if (site.support === "{0, 1}") return z.map((v) => (v > 0.5 ? 1 : 0));
  if (site.support === "one-hot blocks") {
    const out = new Float32Array(z.length), size = site.categories || z.length;
    for (let start = 0; start < z.length; start += size) {
      const block = z.subarray(start, start + size);
      out[start + block.indexOf(Math.max(...block))] = 1;
    }
    return out;
  }
  if (site.support === "the unit sphere") {
    const norm = Math.hypot(...z) || 1;
    return z.map((v) => v / norm);
  }
  return z;
}

// --- Decoding ---------------------------------------------------------------------------------

function decoder(model, graphs) {
  // Returns the mean and a draw of x; sites below `site` are drawn, the others are held.
  return (point, site, seed = 1) => {
    const drawn = model.page.drawn[site] ?? [];
    const graph = graphs[["decode", ...drawn].join(" ")];
    const inputs = {};
    for (const name of Object.keys(graph.inputs)) inputs[name] = point.z[name] ?? point.c[name];
    random.seed(seed);
    const first = graph.run(inputs);
    if (!drawn.length) return { mean: first.mean, draw: first.draw ?? null };
    const mean = Float32Array.from(first.mean, (v) => v / DRAWS);
    for (let k = 1; k < DRAWS; k++) graph.run(inputs).mean.forEach((v, i) => { mean[i] += v / DRAWS; });
    return { mean, draw: first.draw ?? null };
  };
}

function gridDecoder(model) {
  return (point, name) => {
    const grid = model.page.grid[name], site = model.site(name), size = model.page.x.size;
    const z = point.z[name], means = model.arrays[grid.means];
    const cell = [0, 1].map((axis) => {
      let along = 0;
      for (let d = 0; d < site.size; d++) along += (z[d] - site.centre[d]) * site.directions[axis][d];
      const step = ((along - grid.middle[axis]) / grid.half[axis] + 1) * 0.5 * (grid.side - 1);
      return Math.min(grid.side - 1, Math.max(0, Math.round(step)));
    });
    const start = (cell[0] * grid.side + cell[1]) * size;
    return { mean: means.subarray(start, start + size), draw: null };
  };
}

// --- Encoding ---------------------------------------------------------------------------------

function looker(model, graph) {
  // Moments of q(z | x) and the terms of the bound, in nats, from several draws.
  return (x, c, seed = 1) => {
    random.seed(seed);
    const inputs = { x, ...c }, found = {}, terms = { likelihood: [], kl: [], bound: [] };
    for (const site of model.sites) found[site.name] = { loc: new Float64Array(site.size), square: new Float64Array(site.size) };
    let first = null;
    for (let k = 0; k < LOOKS; k++) {
      const out = graph.run(inputs);
      first ??= out;
      let kl = 0;
      for (const site of model.sites) {
        const loc = out[`loc.${site.name}`] ?? out[`value.${site.name}`], scale = out[`scale.${site.name}`];
        kl += out[`q.${site.name}`][0] - out[`p.${site.name}`][0];
        const sums = found[site.name];
        for (let d = 0; d < site.size; d++) {
          sums.loc[d] += loc[d] / LOOKS;
          sums.square[d] += (loc[d] ** 2 + (scale ? scale[d] ** 2 : 0)) / LOOKS;
        }
      }
      terms.likelihood.push(out["p.x"][0]);
      terms.kl.push(kl);
      terms.bound.push(out["p.x"][0] - kl);
    }
    const z = {}, mean = {}, scale = {};
    for (const site of model.sites) {
      const { loc, square } = found[site.name];
      mean[site.name] = Float32Array.from(loc);
      z[site.name] = snapped(site, mean[site.name]);
      scale[site.name] = Float32Array.from(square, (s, d) => Math.sqrt(Math.max(0, s - loc[d] ** 2)));
    }
    return { z, loc: mean, scale, mean: first.mean, ...Object.fromEntries(Object.entries(terms).map(([n, v]) => [n, meanOf(v)])) };
  };
}

function meanOf(values) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / (values.length - 1);
  return { mean, error: Math.sqrt(variance / values.length) };
}

// --- Density ----------------------------------------------------------------------------------

// The log density of the aggregate posterior, with Normals of the moments of each q(z | x).
export function logDensity(site, z) {
  let most = -Infinity, sum = 0;
  for (let n = 0, start = 0; n < site.constant.length; n++, start += site.size) {
    let square = 0;
    for (let d = 0; d < site.size; d++) {
      const r = (z[d] - site.loc[start + d]) / site.scale[start + d];
      square += r * r;
    }
    const v = site.constant[n] - 0.5 * square;
    if (v > most) {
      sum = sum * Math.exp(most - v) + 1;
      most = v;
    } else sum += Math.exp(v - most);
  }
  return most + Math.log(sum / site.constant.length);
}

// The share of the data's own z whose density is lower than here, from 0 to 1.
export function level(site, z) {
  if (site.support !== "the real numbers") return null;
  const density = logDensity(site, z), levels = site.levels;
  if (!(density > levels[0])) return 0;
  for (let i = 1; i < levels.length; i++) {
    if (density < levels[i]) return (i - 1 + (density - levels[i - 1]) / (levels[i] - levels[i - 1])) / 100;
  }
  return 1;
}

// The rows nearest to a point at a site, nearest first.
export function nearest(site, z, count) {
  const order = Array.from({ length: site.constant.length }, (_, n) => {
    let sum = 0;
    for (let d = 0; d < site.size; d++) sum += (z[d] - site.loc[n * site.size + d]) ** 2;
    return [sum, n];
  });
  return order.sort((a, b) => a[0] - b[0]).slice(0, count).map(([, n]) => n);
}
