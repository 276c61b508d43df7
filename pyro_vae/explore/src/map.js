// The map: posterior means in a plane of one latent site, densities behind them.
import { classColour, scaleColour, scaleColours } from "./colours.js";
import { contour, shade, SIDE } from "./density.js";
import { element } from "./dom.js";
import { pointOf, snapped } from "./model.js";

const EMPTY = 0.99; // of the mass of q(z): beyond it nobody lives
const INSIDE = 0.95; // of the mass of p(z)

// The plane of a site: two directions through a centre.
export function planeOf(site, axes) {
  const unit = (d) => Float32Array.from({ length: site.size }, (_, i) => +(i === d));
  const pick = (a, i) => (a === "p" ? site.directions[i] : unit(Number(a)));
  const directions = axes.map(pick);
  const principal = axes.every((a) => a === "p");
  const centre = principal ? site.centre : new Float32Array(site.size);
  const along = (values, start) => directions.map((u) => {
    let sum = 0;
    for (let d = 0; d < site.size; d++) sum += u[d] * (values[start + d] - centre[d]);
    return sum;
  });
  const covariance = (scale, start) => {
    let xx = 0, xy = 0, yy = 0;
    for (let d = 0; d < site.size; d++) {
      const s = scale[start + d] ** 2, [u, v] = [directions[0][d], directions[1][d]];
      xx += s * u * u;
      xy += s * u * v;
      yy += s * v * v;
    }
    return [xx, xy, yy];
  };
  const names = axes.map((a, i) => {
    if (a !== "p") return site.feature(Number(a));
    if (site.size <= 2) return site.size > i ? site.feature(i) : "";
    return `${["first", "second"][i]} principal axis, ${Math.round(100 * site.shares[i])} % of the variance`;
  });
  return { directions, along, covariance, names };
}

export function createMap(root, model, store) {
  const base = element("canvas", { className: "base" });
  const over = element("canvas", {
    className: "over", tabIndex: 0, role: "img",
    "aria-label": "Map of latent space; arrow keys move the point, Enter takes the nearest datum",
  });
  const frame = element("div", { className: "frame" }, base, over);
  root.append(frame);
  const kept = { plane: null, key: "", positions: null, box: null, view: null, q: null, p: null };

  const side = () => frame.clientWidth;
  const toPixels = ([x, y]) => {
    const [left, right, low, high] = kept.view;
    return [((x - left) / (right - left)) * side(), ((high - y) / (high - low)) * side()];
  };
  const toPlane = ([px, py]) => {
    const [left, right, low, high] = kept.view;
    return [left + (px / side()) * (right - left), high - (py / side()) * (high - low)];
  };

  function refreshPlane(state) {
    const key = `${state.site} ${state.axes}`;
    if (kept.key === key) return false;
    const site = model.site(state.site), plane = planeOf(site, state.axes);
    kept.key = key;
    kept.plane = plane;
    kept.positions = Array.from({ length: model.count }, (_, n) => plane.along(site.loc, n * site.size));
    const imagined = Array.from({ length: site.prior.length / site.size }, (_, n) => plane.along(site.prior, n * site.size));
    const seen = [...kept.positions, ...imagined];
    const ends = [0, 1].map((axis) => {
      const sorted = seen.map((p) => p[axis]).sort((a, b) => a - b);
      return [sorted[Math.floor(0.003 * sorted.length)], sorted[Math.ceil(0.997 * (sorted.length - 1))]];
    });
    const half = 0.56 * Math.max(...ends.map(([a, b]) => b - a), 1e-3);
    const [mx, my] = ends.map(([a, b]) => (a + b) / 2);
    kept.box = [mx - half, mx + half, my - half, my + half];
    kept.view = [...kept.box];
    if (site.support === "the real numbers") {
      kept.q = shade(model.count, (n) => kept.positions[n], (n) => plane.covariance(site.scale, n * site.size), kept.box);
      const width = bandwidth(imagined);
      kept.p = shade(imagined.length, (n) => imagined[n], () => width, kept.box);
    } else kept.q = kept.p = null;
    return true;
  }

  function drawBase(state) {
    const context = prepared(base, side()), style = getComputedStyle(document.documentElement);
    const css = (name) => style.getPropertyValue(name).trim();
    context.fillStyle = css("--map");
    context.fillRect(0, 0, side(), side());
    if (kept.q && state.shaded) drawDensities(context, css);
    drawPoints(context, state);
    if (model.labels?.kind === "class" && state.colour === "label") drawNames(context, css);
  }

  function place(i, j) { // a place of the grid in pixels
    const [left, right, low, high] = kept.box;
    return toPixels([left + (i / SIDE) * (right - left), low + (j / SIDE) * (high - low)]);
  }

  function drawDensities(context, css) {
    const image = new ImageData(SIDE, SIDE), [r, g, b] = css("--shade").split(" ").map(Number);
    for (let j = 0; j < SIDE; j++) for (let i = 0; i < SIDE; i++) {
      const rank = kept.q[j * SIDE + i];
      image.data.set([r, g, b, 150 * (1 - rank) ** 0.8], 4 * ((SIDE - 1 - j) * SIDE + i));
    }
    const small = element("canvas", { width: SIDE, height: SIDE });
    small.getContext("2d").putImageData(image, 0, 0);
    const [x0, y1] = place(0, 0), [x1, y0] = place(SIDE, SIDE);
    context.imageSmoothingEnabled = true;
    context.drawImage(small, x0, y0, x1 - x0, y1 - y0);
    const holes = kept.p.map((p, i) => (p < INSIDE && kept.q[i] >= EMPTY ? 1 : 0));
    context.save();
    context.beginPath();
    for (let j = 0; j < SIDE; j++) for (let i = 0; i < SIDE; i++) if (holes[j * SIDE + i]) {
      const [x, y] = place(i, j + 1), [x2, y2] = place(i + 1, j);
      context.rect(x, y, x2 - x, y2 - y);
    }
    context.clip();
    context.strokeStyle = css("--hole");
    context.lineWidth = 1;
    context.beginPath();
    for (let k = -side(); k < side(); k += 7) {
      context.moveTo(k, 0);
      context.lineTo(k + side(), side());
    }
    context.stroke();
    context.restore();
    context.strokeStyle = css("--prior");
    context.lineWidth = 1.2;
    context.setLineDash([4, 4]);
    for (const mass of [0.5, INSIDE]) {
      context.beginPath();
      for (const [a, b, c, d] of contour(kept.p, mass)) {
        context.moveTo(...place(a, b));
        context.lineTo(...place(c, d));
      }
      context.stroke();
    }
    context.setLineDash([]);
  }

  function drawPoints(context, state) {
    const colour = colouring(model, state), radius = Math.max(1.6, Math.min(3.2, 90 / Math.sqrt(model.count)));
    context.globalAlpha = 0.85;
    for (let n = 0; n < model.count; n++) {
      const [x, y] = toPixels(kept.positions[n]), faint = state.only !== null && model.labels?.values[n] !== state.only;
      if (x < -5 || y < -5 || x > side() + 5 || y > side() + 5) continue;
      context.globalAlpha = faint ? 0.08 : 0.85;
      context.fillStyle = colour(n);
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fill();
    }
    context.globalAlpha = 1;
  }

  function drawNames(context, css) { // of classes, at the medians of their data
    context.font = "600 13px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    model.labels.names.forEach((name, label) => {
      const own = kept.positions.filter((_, n) => model.labels.values[n] === label);
      if (!own.length) return;
      const middle = [0, 1].map((axis) => own.map((p) => p[axis]).sort((a, b) => a - b)[own.length >> 1]);
      const [x, y] = toPixels(middle), short = name.length > 14 ? `${name.slice(0, 13)}…` : name;
      context.lineWidth = 4;
      context.strokeStyle = css("--map");
      context.strokeText(short, x, y);
      context.fillStyle = css("--text");
      context.fillText(short, x, y);
    });
  }

  function drawOver(state) {
    const context = prepared(over, side()), style = getComputedStyle(document.documentElement);
    const site = model.site(state.site), ink = style.getPropertyValue("--text").trim();
    const accent = style.getPropertyValue("--accent").trim(), paper = style.getPropertyValue("--map").trim();
    context.clearRect(0, 0, side(), side());
    if (state.pins.length > 1) {
      context.beginPath();
      state.pins.forEach((pin, i) => context[i ? "lineTo" : "moveTo"](...toPixels(kept.plane.along(pin.z[state.site], 0))));
      context.strokeStyle = ink;
      context.lineWidth = 1;
      context.stroke();
    }
    state.pins.forEach((pin, i) => mark(context, toPixels(kept.plane.along(pin.z[state.site], 0)), String(i + 1), ink, paper));
    if (state.own) ellipse(context, kept.plane.along(state.own.loc[state.site], 0), kept.plane.covariance(state.own.scale[state.site], 0), accent);
    const row = state.over ?? state.row;
    if (row !== null) ellipse(context, kept.positions[row], kept.plane.covariance(site.scale, row * site.size), ink);
    cross(context, toPixels(kept.plane.along(state.point.z[state.site], 0)), accent, paper);
  }

  function ellipse(context, at, [xx, xy, yy], colour) { // one and two standard deviations
    const middle = (xx + yy) / 2, spread = Math.sqrt(((xx - yy) / 2) ** 2 + xy * xy);
    const angle = 0.5 * Math.atan2(2 * xy, xx - yy), scale = side() / (kept.view[1] - kept.view[0]);
    const [x, y] = toPixels(at);
    context.strokeStyle = colour;
    for (const times of [1, 2]) {
      context.lineWidth = times === 1 ? 1.8 : 1;
      context.beginPath();
      context.ellipse(x, y, times * scale * Math.sqrt(middle + spread), times * scale * Math.sqrt(Math.max(0, middle - spread)), -angle, 0, 7);
      context.stroke();
    }
  }

  // --- The pointer ------------------------------------------------------------------------------

  function nearestRow([x, y], within) {
    let best = null, least = within * within;
    kept.positions.forEach((p, n) => {
      const [a, b] = toPixels(p), square = (a - x) ** 2 + (b - y) ** 2;
      if (square < least) [best, least] = [n, square];
    });
    return best;
  }

  // The point of the plane through the present one; on other supports that of the nearest datum.
  function pointAt(pixels, state) {
    const site = model.site(state.site);
    if (site.support !== "the real numbers" && site.support !== "the unit sphere") {
      const row = nearestRow(pixels, Infinity), own = pointOf(model, row);
      return { z: { ...state.point.z, [site.name]: own.z[site.name] }, c: state.point.c };
    }
    const [x, y] = toPlane(pixels), z = state.point.z[site.name], at = kept.plane.along(z, 0);
    const moved = Float32Array.from(z, (v, d) =>
      v + (x - at[0]) * kept.plane.directions[0][d] + (y - at[1]) * kept.plane.directions[1][d]);
    return { z: { ...state.point.z, [site.name]: snapped(site, moved) }, c: state.point.c };
  }

  const pixelsOf = (event) => {
    const box = over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  let pressed = false;
  const look = (event) => {
    const pixels = pixelsOf(event), { state } = store;
    if (pressed) store.set({ point: pointAt(pixels, state), row: null, hover: null, over: nearestRow(pixels, 8) });
    else store.set({ hover: pointAt(pixels, state), over: nearestRow(pixels, 8) });
  };
  over.addEventListener("pointermove", look);
  over.addEventListener("pointerdown", (event) => {
    over.setPointerCapture(event.pointerId);
    pressed = true;
    const row = nearestRow(pixelsOf(event), 6);
    if (row === null || event.shiftKey) look(event);
    else store.set({ point: pointOf(model, row), row, hover: null, own: null });
  });
  over.addEventListener("pointerup", () => { pressed = false; });
  over.addEventListener("pointercancel", () => { pressed = false; });
  over.addEventListener("pointerleave", () => store.set({ hover: null, over: null }));
  over.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(0.0015 * event.deltaY), toPlane(pixelsOf(event)));
  }, { passive: false });
  over.addEventListener("dblclick", () => zoom(null));

  function zoom(factor, about) {
    const [left, right, low, high] = kept.view, [x, y] = about ?? [(left + right) / 2, (low + high) / 2];
    kept.view = factor === null ? [...kept.box]
      : [x - (x - left) * factor, x + (right - x) * factor, y - (y - low) * factor, y + (high - y) * factor];
    store.set({ view: kept.view });
  }

  // --- What others ask of the map ----------------------------------------------------------------

  store.on((state, changed) => {
    const other = refreshPlane(state);
    if (other || ["colour", "only", "shaded", "theme", "view", "width"].some((n) => changed.has(n))) drawBase(state);
    drawOver(state);
  });
  new ResizeObserver(() => store.set({ width: side() })).observe(frame);
  return {
    zoom,
    names: () => kept.plane.names,
    // Moves the point by a share of the view.
    move(dx, dy) {
      const { state } = store, [x, y] = toPixels(kept.plane.along(state.point.z[state.site], 0));
      store.set({ point: pointAt([x + dx * side(), y - dy * side()], state), row: null, hover: null, over: null });
    },
    toPixels: (row) => toPixels(kept.positions[row]),
  };
}

// How a row is coloured.
export function colouring(model, state) {
  const theme = document.documentElement.dataset.theme;
  if (state.colour === "label" && model.labels) {
    const { values, kind } = model.labels;
    if (kind === "class") return (n) => (values[n] < 0 ? "#999" : classColour(values[n]));
    return byNumber(values, theme).of;
  }
  if (state.colour !== "none" && model.scores?.[state.colour]) return byNumber(model.scores[state.colour], theme).of;
  return () => (theme === "dark" ? "#8ab4e8" : "#35608f");
}

export function byNumber(values, theme) {
  const sorted = Array.from(values).filter(Number.isFinite).sort((a, b) => a - b);
  const low = sorted[Math.floor(0.02 * sorted.length)] ?? 0, high = sorted[Math.floor(0.98 * (sorted.length - 1))] ?? 1;
  const of = (n) => (Number.isFinite(values[n]) ? scaleColour((values[n] - low) / (high - low || 1), theme) : "#999");
  return { low, high, of, colours: scaleColours(theme) };
}

function bandwidth(points) { // Silverman's, one for both axes each
  const spread = [0, 1].map((axis) => {
    const mean = points.reduce((s, p) => s + p[axis], 0) / points.length;
    return points.reduce((s, p) => s + (p[axis] - mean) ** 2, 0) / points.length;
  });
  const factor = points.length ** (-1 / 3);
  return [spread[0] * factor, 0, spread[1] * factor];
}

function prepared(canvas, side) {
  const ratio = window.devicePixelRatio || 1, size = Math.max(1, Math.round(side * ratio));
  if (canvas.width !== size) canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

function cross(context, [x, y], colour, paper) {
  for (const [width, stroke] of [[5, paper], [2.2, colour]]) {
    context.lineWidth = width;
    context.strokeStyle = stroke;
    context.beginPath();
    context.arc(x, y, 7, 0, 7);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 4 * dx, y + 4 * dy);
      context.lineTo(x + 12 * dx, y + 12 * dy);
    }
    context.stroke();
  }
}

function mark(context, [x, y], text, ink, paper) {
  context.beginPath();
  context.arc(x, y, 9, 0, 7);
  context.fillStyle = ink;
  context.fill();
  context.fillStyle = paper;
  context.font = "600 11px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, x, y + 0.5);
}
