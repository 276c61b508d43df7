// The operations of ATen that a page can run, on flat arrays of single precision.
// Each takes the shape of its result and the arguments of its schema; tensors are {data, shape}.
import * as random from "./random.js";
import { digamma, erf, erfcx, erfinv, lgamma } from "./special.js";

export const size = (shape) => shape.reduce((a, b) => a * b, 1);
const isTensor = (a) => a !== null && typeof a === "object" && a.data !== undefined;
const from = (place, length) => (place < 0 ? place + length : place);

function stridesOf(shape) {
  const strides = new Array(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

// Calls visit(place in the result, place in the data) for a view with strides.
function walk(shape, strides, offset, visit) {
  const at = new Array(shape.length).fill(0), count = size(shape);
  let source = offset;
  for (let i = 0; i < count; i++) {
    visit(i, source);
    for (let d = shape.length - 1; d >= 0; d--) {
      source += strides[d];
      if (++at[d] < shape[d]) break;
      source -= strides[d] * shape[d];
      at[d] = 0;
    }
  }
}

function view(data, shape, strides, offset = 0) {
  const out = new Float32Array(size(shape));
  walk(shape, strides, offset, (i, j) => { out[i] = data[j]; });
  return out;
}

// The data of a tensor or number as if it had this shape.
function expanded(a, shape) {
  if (!isTensor(a)) return new Float32Array(size(shape)).fill(Number(a));
  const count = size(shape);
  if (a.data.length === count) return a.data;
  if (a.data.length === 1) return new Float32Array(count).fill(a.data[0]);
  const own = stridesOf(a.shape), lead = shape.length - a.shape.length;
  const strides = shape.map((_, d) => (d < lead || a.shape[d - lead] === 1 ? 0 : own[d - lead]));
  return view(a.data, shape, strides);
}

const unary = (f) => (shape, a) => Float32Array.from(a.data, f);
const binary = (f) => (shape, a, b) => {
  const x = expanded(a, shape), y = expanded(b, shape), out = new Float32Array(x.length);
  for (let i = 0; i < out.length; i++) out[i] = f(x[i], y[i]);
  return out;
};
const scaled = (f) => (shape, a, b, alpha = 1) => binary((x, y) => f(x, alpha * y))(shape, a, b);
const same = (shape, a) => a.data;
const sigmoid = (v) => 1 / (1 + Math.exp(-v));
const even = (v) => { // as PyTorch rounds
  const low = Math.floor(v), rest = v - low;
  return rest < 0.5 ? low : rest > 0.5 ? low + 1 : low % 2 ? low + 1 : low;
};

// Reduces dimensions: f takes the numbers of each group.
function reduce(shape, a, dims, f) {
  const rank = a.shape.length;
  const all = dims === null || dims === undefined || dims.length === 0;
  const gone = new Set((all ? a.shape.map((_, d) => d) : dims).map((d) => from(d, rank)));
  const strides = stridesOf(a.shape);
  const kept = a.shape.map((_, d) => d).filter((d) => !gone.has(d));
  const inner = a.shape.map((_, d) => d).filter((d) => gone.has(d));
  const sizes = inner.map((d) => a.shape[d]), steps = inner.map((d) => strides[d]);
  const out = new Float32Array(size(kept.map((d) => a.shape[d])));
  const group = new Float64Array(size(sizes));
  walk(kept.map((d) => a.shape[d]), kept.map((d) => strides[d]), 0, (i, start) => {
    walk(sizes, steps, start, (k, j) => { group[k] = a.data[j]; });
    out[i] = f(group);
  });
  return out;
}
const total = (group) => group.reduce((a, b) => a + b, 0);
const highest = (group) => group.reduce((a, b) => (a > b || a !== a ? a : b));
const lowest = (group) => group.reduce((a, b) => (a < b || a !== a ? a : b));

// Changes each line along a dimension: f takes a line and the place for its result.
function lines(a, dim, f) {
  const d = from(dim, a.shape.length), step = stridesOf(a.shape)[d], count = a.shape[d];
  const out = new Float32Array(a.data.length), line = new Float64Array(count);
  const blocks = a.data.length / (step * count);
  for (let block = 0; block < blocks; block++) {
    for (let j = 0; j < step; j++) {
      const start = block * step * count + j;
      for (let k = 0; k < count; k++) line[k] = a.data[start + k * step];
      f(line);
      for (let k = 0; k < count; k++) out[start + k * step] = line[k];
    }
  }
  return out;
}
function softmax(line) {
  const most = highest(line);
  let sum = 0;
  for (let k = 0; k < line.length; k++) sum += line[k] = Math.exp(line[k] - most);
  for (let k = 0; k < line.length; k++) line[k] /= sum;
}
function logSoftmax(line) {
  const most = highest(line);
  let sum = 0;
  for (const v of line) sum += Math.exp(v - most);
  const shift = most + Math.log(sum);
  for (let k = 0; k < line.length; k++) line[k] -= shift;
}
function cumsum(line) {
  for (let k = 1; k < line.length; k++) line[k] += line[k - 1];
}

// (n, k) times (k, m), for one of several pairs.
function product(x, y, out, n, k, m, atX = 0, atY = 0, atOut = 0) {
  for (let i = 0; i < n; i++) {
    const row = atOut + i * m;
    for (let j = 0; j < k; j++) {
      const v = x[atX + i * k + j], start = atY + j * m;
      if (v !== 0) for (let l = 0; l < m; l++) out[row + l] += v * y[start + l];
    }
  }
}

function convolution(shape, x, weight, bias, stride, padding, dilation, transposed, _, groups) {
  const [, channels, height, width] = shape, [, inputs, h, w] = x.shape;
  const [kh, kw] = weight.shape.slice(2), out = new Float32Array(size(shape));
  const perIn = inputs / groups, perOut = channels / groups;
  for (let o = 0; o < channels; o++) {
    const g = Math.floor(o / perOut);
    if (bias) out.fill(bias.data[o], o * height * width, (o + 1) * height * width);
    for (let i = 0; i < perIn; i++) {
      const source = (g * perIn + i) * h * w;
      for (let a = 0; a < kh; a++) for (let b = 0; b < kw; b++) {
        const v = transposed
          ? weight.data[(((g * perIn + i) * perOut + o % perOut) * kh + a) * kw + b]
          : weight.data[((o * perIn + i) * kh + a) * kw + b];
        const [rows, columns] = transposed ? [h, w] : [height, width];
        for (let r = 0; r < rows; r++) {
          const r2 = r * stride[0] - padding[0] + a * dilation[0];
          if (r2 < 0 || r2 >= (transposed ? height : h)) continue;
          for (let c = 0; c < columns; c++) {
            const c2 = c * stride[1] - padding[1] + b * dilation[1];
            if (c2 < 0 || c2 >= (transposed ? width : w)) continue;
            if (transposed) out[(o * height + r2) * width + c2] += v * x.data[source + r * w + c];
            else out[(o * height + r) * width + c] += v * x.data[source + r2 * w + c2];
          }
        }
      }
    }
  }
  return out;
}

function cat(shape, parts, dim = 0) {
  const full = parts.filter((p) => p.data.length), d = from(dim, shape.length);
  const out = new Float32Array(size(shape)), inner = size(shape.slice(d + 1));
  const blocks = size(shape.slice(0, d));
  let offset = 0;
  for (const part of full) {
    const length = part.shape[d] * inner;
    for (let block = 0; block < blocks; block++) {
      const row = part.data.subarray(block * length, (block + 1) * length);
      out.set(row, block * shape[d] * inner + offset);
    }
    offset += length;
  }
  return out;
}

// Pieces along a dimension, as [start, length].
function pieces(a, dim, ranges) {
  const d = from(dim, a.shape.length), strides = stridesOf(a.shape);
  return ranges.map(([start, length]) => {
    const shape = a.shape.map((n, i) => (i === d ? length : n));
    return view(a.data, shape, strides, start * strides[d]);
  });
}

// Where an index of tensors points to: the shape of what it picks, and the place of each number.
function pointed(a, indices) {
  const given = indices.map((v, d) => [v, d]).filter(([v]) => v), strides = stridesOf(a.shape);
  const rank = Math.max(...given.map(([v]) => v.shape.length));
  const padded = given.map(([v]) => [...new Array(rank - v.shape.length).fill(1), ...v.shape]);
  const around = Array.from({ length: rank }, (_, i) => Math.max(...padded.map((shape) => shape[i])));
  const rows = given.map(([v, d]) => [expanded(v, around), d]);
  const first = given[0][1], apart = given.some(([, d], i) => d !== first + i);
  const rest = a.shape.map((_, d) => d).filter((d) => !given.some(([, e]) => e === d));
  const before = apart ? [] : rest.filter((d) => d < first), after = rest.filter((d) => !before.includes(d));
  const sizes = (dims) => dims.map((d) => a.shape[d]), steps = (dims) => dims.map((d) => strides[d]);
  const places = [], many = size(around);
  walk(sizes(before), steps(before), 0, (_, start) => {
    for (let k = 0; k < many; k++) {
      const base = rows.reduce((sum, [v, d]) => sum + from(v[k], a.shape[d]) * strides[d], start);
      walk(sizes(after), steps(after), base, (__, place) => places.push(place));
    }
  });
  return { shape: [...sizes(before), ...around, ...sizes(after)], places };
}

const index = (shape, a, indices) => Float32Array.from(pointed(a, indices).places, (place) => a.data[place]);

function indexPut(shape, a, indices, values, accumulate = false) {
  const found = pointed(a, indices), x = expanded(values, found.shape), out = Float32Array.from(a.data);
  found.places.forEach((place, i) => { out[place] = accumulate ? out[place] + x[i] : x[i]; });
  return out;
}

function gather(shape, a, dim, places) {
  const d = from(dim, shape.length), strides = stridesOf(a.shape), out = new Float32Array(size(shape));
  walk(shape, strides.map((s, i) => (i === d ? 0 : s)), 0, (i, j) => {
    out[i] = a.data[j + places.data[i] * strides[d]];
  });
  return out;
}

function scatter(shape, a, dim, places, source) {
  const d = from(dim, shape.length), strides = stridesOf(shape), out = Float32Array.from(a.data);
  walk(places.shape, strides.map((s, i) => (i === d ? 0 : s)), 0, (i, j) => {
    out[j + places.data[i] * strides[d]] = isTensor(source) ? source.data[i] : source;
  });
  return out;
}

function pad(shape, a, amounts, value = 0) {
  const out = new Float32Array(size(shape)).fill(value), strides = stridesOf(shape);
  let offset = 0;
  for (let i = 0; i < amounts.length / 2; i++) offset += amounts[2 * i] * strides[shape.length - 1 - i];
  walk(a.shape, strides, offset, (i, j) => { out[j] = a.data[i]; });
  return out;
}

function diagonal(shape, a, offset = 0, one = 0, two = 1) {
  const strides = stridesOf(a.shape), d1 = from(one, a.shape.length), d2 = from(two, a.shape.length);
  const rest = strides.filter((_, d) => d !== d1 && d !== d2);
  const start = offset >= 0 ? offset * strides[d2] : -offset * strides[d1];
  return view(a.data, shape, [...rest, strides[d1] + strides[d2]], start);
}

const triangle = (keep) => (shape, a, shift = 0) => {
  const [rows, columns] = shape.slice(-2);
  return a.data.map((v, i) => (keep(i % columns - (Math.floor(i / columns) % rows), shift) ? v : 0));
};

function sorted(a, dim, descending) {
  const order = [];
  const values = lines(a, dim, (line) => {
    const places = [...line.keys()].sort((i, j) => (descending ? line[j] - line[i] : line[i] - line[j]));
    order.push(places);
    line.set(places.map((p) => line[p]));
  });
  let next = 0;
  const indices = lines(a, dim, (line) => line.set(order[next++]));
  return [values, indices];
}

// Solves L y = b for a lower (or upper) triangle, for one matrix.
function solveTriangular(shape, l, b, upper, left, unit) {
  if (!left) throw new Error("triangles on the right");
  const n = l.shape[l.shape.length - 1], m = shape[shape.length - 1];
  const out = Float32Array.from(expanded(b, shape)), many = out.length / (n * m);
  const shared = l.data.length === n * n;
  for (let k = 0; k < many; k++) {
    const at = shared ? 0 : k * n * n;
    for (let c = 0; c < m; c++) for (let s = 0; s < n; s++) {
      const i = upper ? n - 1 - s : s;
      let sum = out[k * n * m + i * m + c];
      for (let t = 0; t < s; t++) {
        const j = upper ? n - 1 - t : t;
        sum -= l.data[at + i * n + j] * out[k * n * m + j * m + c];
      }
      out[k * n * m + i * m + c] = unit ? sum : sum / l.data[at + i * n + i];
    }
  }
  return out;
}

function cholesky(a, upper) {
  const n = a.shape[a.shape.length - 1], out = new Float32Array(a.data.length);
  for (let k = 0; k < a.data.length; k += n * n) for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) {
    let sum = a.data[k + i * n + j];
    for (let t = 0; t < j; t++) sum -= upper ? out[k + t * n + i] * out[k + t * n + j] : out[k + i * n + t] * out[k + j * n + t];
    const v = i === j ? Math.sqrt(sum) : sum / out[k + j * n + j];
    out[upper ? k + j * n + i : k + i * n + j] = v;
  }
  return out;
}

function multinomial(shape, weights, count) {
  const n = weights.shape[weights.shape.length - 1], rows = weights.data.length / n;
  const out = new Float32Array(rows * count);
  for (let i = 0; i < out.length; i++) out[i] = random.place(weights.data, Math.floor(i / count) * n, n);
  return out;
}

const filled = (value) => (shape) => new Float32Array(size(shape)).fill(value);
const drawn = (draw) => (shape) => Float32Array.from({ length: size(shape) }, draw);
const each = (draw) => (shape, a) => Float32Array.from(a.data, draw);
const bound = (shape, a, low, high) => {
  const l = low === null || low === undefined ? null : expanded(low, shape);
  const h = high === null || high === undefined ? null : expanded(high, shape);
  return expanded(a, shape).map((v, i) => {
    if (l && v < l[i]) v = l[i];
    return h && v > h[i] ? h[i] : v;
  });
};
const whole = (name) => /^(torch\.)?(u?int|bool|long)/.test(name ?? "");
const typed = (shape, a, dtype) =>
  dtype === "bool" ? a.data.map((v) => (v !== 0 ? 1 : 0)) : whole(dtype) ? a.data.map(Math.trunc) : a.data;

export const OPERATIONS = {
  // Views and copies
  alias: same, clone: same, detach: same, lift_fresh_copy: same, view: same, reshape: same,
  _unsafe_view: same, unsqueeze: same, squeeze: same, "squeeze.dim": same, "squeeze.dims": same,
  view_copy: same, _reshape_alias: same, contiguous: same,
  _to_copy: typed, "_assert_async.msg": same,
  expand: (shape, a) => expanded(a, shape),
  permute: (shape, a, dims) => {
    const strides = stridesOf(a.shape);
    return view(a.data, shape, dims.map((d) => strides[from(d, dims.length)]));
  },
  t: (shape, a) => view(a.data, shape, stridesOf(a.shape).reverse()),
  "transpose.int": (shape, a, one, two) => {
    const strides = stridesOf(a.shape), i = from(one, strides.length), j = from(two, strides.length);
    [strides[i], strides[j]] = [strides[j], strides[i]];
    return view(a.data, shape, strides);
  },
  "slice.Tensor": (shape, a, dim = 0, start = 0, end = null, step = 1) => {
    const strides = stridesOf(a.shape), d = from(dim, a.shape.length), first = from(start ?? 0, a.shape[d]);
    return view(a.data, shape, strides.map((s, i) => (i === d ? s * step : s)), Math.max(0, first) * strides[d]);
  },
  "select.int": (shape, a, dim, place) => {
    const strides = stridesOf(a.shape), d = from(dim, a.shape.length);
    return view(a.data, shape, strides.filter((_, i) => i !== d), from(place, a.shape[d]) * strides[d]);
  },
  cat, "split.Tensor": (shapes, a, length, dim = 0) => {
    const n = a.shape[from(dim, a.shape.length)], starts = [];
    for (let i = 0; i < n; i += length) starts.push([i, Math.min(length, n - i)]);
    return pieces(a, dim, starts);
  },
  split_with_sizes: (shapes, a, sizes, dim = 0) => {
    let start = 0;
    return pieces(a, dim, sizes.map((n) => [(start += n) - n, n]));
  },
  stack: (shape, parts, dim = 0) => cat(shape, parts.map((p) => ({
    data: p.data, shape: [...p.shape.slice(0, from(dim, shape.length)), 1, ...p.shape.slice(from(dim, shape.length))],
  })), dim),
  "unbind.int": (shapes, a, dim = 0) =>
    pieces(a, dim, Array.from({ length: a.shape[from(dim, a.shape.length)] }, (_, i) => [i, 1])),
  repeat: (shape, a, times) => {
    const lead = times.length - a.shape.length, own = [...new Array(lead).fill(1), ...a.shape];
    const strides = stridesOf(own), out = new Float32Array(size(shape)), place = stridesOf(shape);
    for (let i = 0; i < out.length; i++) {
      let j = 0;
      for (let d = 0; d < shape.length; d++) j += (Math.floor(i / place[d]) % own[d]) * strides[d];
      out[i] = a.data[j];
    }
    return out;
  },
  flip: (shape, a, dims) => {
    const strides = stridesOf(a.shape), turned = new Set(dims.map((d) => from(d, shape.length)));
    const offset = shape.reduce((sum, n, d) => sum + (turned.has(d) ? (n - 1) * strides[d] : 0), 0);
    return view(a.data, shape, strides.map((s, d) => (turned.has(d) ? -s : s)), offset);
  },
  diagonal, diagonal_copy: diagonal, tril: triangle((k, shift) => k <= shift), triu: triangle((k, shift) => k >= shift),
  constant_pad_nd: pad, "index.Tensor": index, gather, "scatter.src": scatter, "scatter.value": scatter,
  index_put: indexPut,
  "index_put.mask": (shape, a, [mask], value) => { // one value in the places of a mask
    const inner = size(shape) / mask.data.length;
    return a.data.map((v, i) => (mask.data[Math.floor(i / inner)] ? value.data[0] : v));
  },
  slice_scatter: (shape, a, source, dim = 0, start = 0, end = null, step = 1) => {
    const strides = stridesOf(shape), d = from(dim, shape.length), out = Float32Array.from(a.data);
    const first = Math.max(0, from(start ?? 0, shape[d]));
    walk(source.shape, strides.map((s, i) => (i === d ? s * step : s)), first * strides[d], (i, j) => { out[j] = source.data[i]; });
    return out;
  },
  select_scatter: (shape, a, source, dim, place) => {
    const strides = stridesOf(shape), d = from(dim, shape.length), out = Float32Array.from(a.data);
    const rest = strides.filter((_, i) => i !== d);
    walk(source.shape, rest, from(place, shape[d]) * strides[d], (i, j) => { out[j] = source.data[i]; });
    return out;
  },
  index_select: (shape, a, dim, places) => {
    const indices = new Array(from(dim, a.shape.length)).fill(null);
    return index(shape, a, [...indices, places]);
  },
  embedding: (shape, weight, places) => index(shape, weight, [places]),

  // Making
  full: (shape, _, value) => new Float32Array(size(shape)).fill(Number(value)),
  full_like: (shape, _, value) => new Float32Array(size(shape)).fill(Number(value)),
  new_full: (shape, _, __, value) => new Float32Array(size(shape)).fill(Number(value)),
  scalar_tensor: (shape, value) => new Float32Array(1).fill(Number(value)),
  "fill.Scalar": (shape, _, value) => new Float32Array(size(shape)).fill(Number(value)),
  zeros: filled(0), zeros_like: filled(0), new_zeros: filled(0), ones: filled(1), ones_like: filled(1),
  new_ones: filled(1), empty: filled(0), empty_like: filled(0), new_empty: filled(0),
  "empty.memory_format": filled(0), empty_permuted: filled(0),
  copy: (shape, _, b) => expanded(b, shape),

  // Element by element
  abs: unary(Math.abs), neg: unary((v) => -v), exp: unary(Math.exp), expm1: unary(Math.expm1),
  log: unary(Math.log), log1p: unary(Math.log1p), log2: unary(Math.log2), log10: unary(Math.log10),
  sqrt: unary(Math.sqrt), rsqrt: unary((v) => 1 / Math.sqrt(v)), reciprocal: unary((v) => 1 / v),
  sin: unary(Math.sin), cos: unary(Math.cos), tan: unary(Math.tan), asin: unary(Math.asin),
  acos: unary(Math.acos), atan: unary(Math.atan), sinh: unary(Math.sinh), cosh: unary(Math.cosh),
  tanh: unary(Math.tanh), atanh: unary(Math.atanh), asinh: unary(Math.asinh), sigmoid: unary(sigmoid),
  relu: unary((v) => (v > 0 ? v : 0)), floor: unary(Math.floor), ceil: unary(Math.ceil),
  round: unary(even), trunc: unary(Math.trunc), sign: unary(Math.sign), sgn: unary(Math.sign),
  erf: unary(erf), erfc: unary((v) => (v > 2 ? erfcx(v) * Math.exp(-v * v) : 1 - erf(v))), erfinv: unary(erfinv), special_erfcx: unary(erfcx),
  lgamma: unary(lgamma), digamma: unary(digamma),
  logical_not: unary((v) => (v ? 0 : 1)), bitwise_not: unary((v) => (v ? 0 : 1)),
  isnan: unary((v) => (v !== v ? 1 : 0)), isinf: unary((v) => (Math.abs(v) === Infinity ? 1 : 0)),
  gelu: (shape, a, how) => Float32Array.from(a.data, how === "tanh"
    ? (v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))
    : (v) => 0.5 * v * (1 + erf(v / Math.SQRT2))),
  elu: (shape, a, alpha = 1, scale = 1, input = 1) =>
    Float32Array.from(a.data, (v) => scale * (v > 0 ? v : alpha * Math.expm1(input * v))),
  leaky_relu: (shape, a, slope = 0.01) => Float32Array.from(a.data, (v) => (v > 0 ? v : slope * v)),
  hardtanh: (shape, a, low = -1, high = 1) => bound(shape, a, low, high),
  "add.Tensor": scaled((x, y) => x + y), "add.Scalar": scaled((x, y) => x + y),
  "sub.Tensor": scaled((x, y) => x - y), "sub.Scalar": scaled((x, y) => x - y),
  "rsub.Scalar": (shape, a, b, alpha = 1) => binary((x, y) => y - alpha * x)(shape, a, b),
  "mul.Tensor": binary((x, y) => x * y), "mul.Scalar": binary((x, y) => x * y),
  "div.Tensor": binary((x, y) => x / y), "div.Scalar": binary((x, y) => x / y),
  "div.Tensor_mode": (shape, a, b, how) =>
    binary((x, y) => (how === "floor" ? Math.floor(x / y) : how === "trunc" ? Math.trunc(x / y) : x / y))(shape, a, b),
  floor_divide: binary((x, y) => Math.floor(x / y)),
  "remainder.Scalar": binary((x, y) => x - y * Math.floor(x / y)),
  "remainder.Tensor": binary((x, y) => x - y * Math.floor(x / y)),
  "fmod.Scalar": binary((x, y) => x % y), "fmod.Tensor": binary((x, y) => x % y),
  "pow.Tensor_Scalar": binary(Math.pow), "pow.Tensor_Tensor": binary(Math.pow), "pow.Scalar": binary(Math.pow),
  atan2: binary(Math.atan2), hypot: binary(Math.hypot), copysign: binary((x, y) => (y < 0 ? -Math.abs(x) : Math.abs(x))),
  maximum: binary((x, y) => (x !== x || x > y ? x : y)), minimum: binary((x, y) => (x !== x || x < y ? x : y)),
  logaddexp: binary((x, y) => (x === y ? x + Math.LN2 : Math.max(x, y) + Math.log1p(Math.exp(-Math.abs(x - y))))),
  xlogy: binary((x, y) => (x === 0 ? 0 : x * Math.log(y))),
  "eq.Scalar": binary((x, y) => +(x === y)), "eq.Tensor": binary((x, y) => +(x === y)),
  "ne.Scalar": binary((x, y) => +(x !== y)), "ne.Tensor": binary((x, y) => +(x !== y)),
  "lt.Scalar": binary((x, y) => +(x < y)), "lt.Tensor": binary((x, y) => +(x < y)),
  "le.Scalar": binary((x, y) => +(x <= y)), "le.Tensor": binary((x, y) => +(x <= y)),
  "gt.Scalar": binary((x, y) => +(x > y)), "gt.Tensor": binary((x, y) => +(x > y)),
  "ge.Scalar": binary((x, y) => +(x >= y)), "ge.Tensor": binary((x, y) => +(x >= y)),
  "bitwise_and.Tensor": binary((x, y) => x & y), "bitwise_or.Tensor": binary((x, y) => x | y),
  "bitwise_xor.Tensor": binary((x, y) => x ^ y), logical_and: binary((x, y) => +(x !== 0 && y !== 0)),
  logical_or: binary((x, y) => +(x !== 0 || y !== 0)), logical_xor: binary((x, y) => +((x !== 0) !== (y !== 0))),
  "bitwise_and.Scalar": binary((x, y) => x & y), "__rshift__.Scalar": binary((x, y) => x >> y),
  clamp: bound, "clamp.Tensor": bound, clamp_min: (shape, a, low) => bound(shape, a, low),
  clamp_max: (shape, a, high) => bound(shape, a, null, high),
  "where.self": (shape, condition, a, b) => {
    const c = expanded(condition, shape), x = expanded(a, shape), y = expanded(b, shape);
    return Float32Array.from(c, (v, i) => (v ? x[i] : y[i]));
  },
  "masked_fill.Scalar": (shape, a, mask, value) => {
    const x = expanded(a, shape), m = expanded(mask, shape);
    return Float32Array.from(x, (v, i) => (m[i] ? value : v));
  },
  "masked_fill.Tensor": (shape, a, mask, value) => {
    const x = expanded(a, shape), m = expanded(mask, shape);
    return Float32Array.from(x, (v, i) => (m[i] ? value.data[0] : v));
  },
  "lerp.Tensor": (shape, a, b, weight) => {
    const x = expanded(a, shape), y = expanded(b, shape), w = expanded(weight, shape);
    return Float32Array.from(x, (v, i) => v + w[i] * (y[i] - v));
  },
  addcmul: (shape, a, b, c, value = 1) => {
    const x = expanded(a, shape), y = expanded(b, shape), z = expanded(c, shape);
    return Float32Array.from(x, (v, i) => v + value * y[i] * z[i]);
  },
  nan_to_num: (shape, a, nan = 0, high = null, low = null) => Float32Array.from(a.data, (v) =>
    v !== v ? nan ?? 0 : v === Infinity ? high ?? 3.4028234663852886e38 : v === -Infinity ? low ?? -3.4028234663852886e38 : v),

  // Sums and the like
  "sum.dim_IntList": (shape, a, dims) => reduce(shape, a, dims, total), sum: (shape, a) => reduce(shape, a, null, total),
  "mean.dim": (shape, a, dims) => reduce(shape, a, dims, (g) => total(g) / g.length),
  mean: (shape, a) => reduce(shape, a, null, (g) => total(g) / g.length),
  "prod.dim_int": (shape, a, dim) => reduce(shape, a, [dim], (g) => g.reduce((x, y) => x * y, 1)),
  amax: (shape, a, dims) => reduce(shape, a, dims, highest), amin: (shape, a, dims) => reduce(shape, a, dims, lowest),
  max: (shape, a) => reduce(shape, a, null, highest), min: (shape, a) => reduce(shape, a, null, lowest),
  "any.dim": (shape, a, dim) => reduce(shape, a, [dim], (g) => +g.some((v) => v !== 0)),
  "any.dims": (shape, a, dims) => reduce(shape, a, dims, (g) => +g.some((v) => v !== 0)),
  any: (shape, a) => reduce(shape, a, null, (g) => +g.some((v) => v !== 0)),
  "all.dim": (shape, a, dim) => reduce(shape, a, [dim], (g) => +g.every((v) => v !== 0)),
  all: (shape, a) => reduce(shape, a, null, (g) => +g.every((v) => v !== 0)),
  argmax: (shape, a, dim) => reduce(shape, a, dim === null ? null : [dim], (g) => g.indexOf(highest(g))),
  argmin: (shape, a, dim) => reduce(shape, a, dim === null ? null : [dim], (g) => g.indexOf(lowest(g))),
  "max.dim": (shapes, a, dim) => [reduce(shapes[0], a, [dim], highest), reduce(shapes[0], a, [dim], (g) => g.indexOf(highest(g)))],
  "min.dim": (shapes, a, dim) => [reduce(shapes[0], a, [dim], lowest), reduce(shapes[0], a, [dim], (g) => g.indexOf(lowest(g)))],
  "var.correction": (shape, a, dims, correction) => reduce(shape, a, dims, (g) => {
    const centre = total(g) / g.length;
    return g.reduce((s, v) => s + (v - centre) ** 2, 0) / (g.length - (correction ?? 1));
  }),
  linalg_vector_norm: (shape, a, order = 2, dims = null) =>
    reduce(shape, a, dims, (g) => g.reduce((s, v) => s + Math.abs(v) ** order, 0) ** (1 / order)),
  logsumexp: (shape, a, dims) => reduce(shape, a, dims, (g) => {
    const most = highest(g);
    return Number.isFinite(most) ? most + Math.log(g.reduce((s, v) => s + Math.exp(v - most), 0)) : most;
  }),
  _softmax: (shape, a, dim) => lines(a, dim, softmax), _log_softmax: (shape, a, dim) => lines(a, dim, logSoftmax),
  cumsum: (shape, a, dim) => lines(a, dim, cumsum),
  cummax: (shapes, a, dim) => {
    const where = (line) => { // the place of the highest so far, the last of equal ones
      let best = 0;
      line.forEach((v, k) => { if (v >= line[best] || v !== v) best = k; });
      return best;
    };
    const last = (line) => line.map((_, k) => where(line.subarray(0, k + 1)));
    return [lines(a, dim, (line) => line.set(last(line).map((k) => line[k]))), lines(a, dim, (line) => line.set(last(line)))];
  },
  sort: (shapes, a, dim = -1, descending = false) => sorted(a, dim, descending),
  "sort.stable": (shapes, a, stable, dim = -1, descending = false) => sorted(a, dim, descending),

  // Matrices
  mm: (shape, a, b) => {
    const out = new Float32Array(size(shape));
    product(a.data, b.data, out, shape[0], a.shape[1], shape[1]);
    return out;
  },
  addmm: (shape, bias, a, b, beta = 1, alpha = 1) => {
    const out = OPERATIONS.mm(shape, a, b), c = expanded(bias, shape);
    for (let i = 0; i < out.length; i++) out[i] = beta * c[i] + alpha * out[i];
    return out;
  },
  bmm: (shape, a, b) => {
    const [many, n, m] = shape, k = a.shape[2], out = new Float32Array(size(shape));
    for (let i = 0; i < many; i++) product(a.data, b.data, out, n, k, m, i * n * k, i * k * m, i * n * m);
    return out;
  },
  mv: (shape, a, b) => OPERATIONS.mm([a.shape[0], 1], a, { data: b.data, shape: [b.shape[0], 1] }),
  dot: (shape, a, b) => Float32Array.of(a.data.reduce((s, v, i) => s + v * b.data[i], 0)),
  native_layer_norm: (shapes, a, shape, weight, bias, eps) => {
    const n = size(shape), out = new Float32Array(a.data.length);
    const [means, scales] = [new Float32Array(a.data.length / n), new Float32Array(a.data.length / n)];
    for (let row = 0; row < means.length; row++) {
      const group = a.data.subarray(row * n, (row + 1) * n), mean = total(group) / n;
      const scale = 1 / Math.sqrt(group.reduce((s, v) => s + (v - mean) ** 2, 0) / n + eps);
      for (let i = 0; i < n; i++) out[row * n + i] = (group[i] - mean) * scale * (weight ? weight.data[i] : 1) + (bias ? bias.data[i] : 0);
      [means[row], scales[row]] = [mean, scale];
    }
    return [out, means, scales];
  },
  native_batch_norm: (shapes, a, weight, bias, mean, variance, training, _, eps) => {
    if (training) throw new Error("Expected batch normalization in evaluation mode.");
    const channels = a.shape[1], inner = size(a.shape.slice(2)), none = new Float32Array(0);
    const out = a.data.map((v, i) => {
      const c = Math.floor(i / inner) % channels;
      return ((v - mean.data[c]) / Math.sqrt(variance.data[c] + eps)) * (weight ? weight.data[c] : 1) + (bias ? bias.data[c] : 0);
    });
    return [out, none, none];
  },
  convolution, linalg_cholesky_ex: (shapes, a, upper = false) => [cholesky(a, upper), new Float32Array(size(shapes[1]))],
  cholesky: (shape, a, upper = false) => cholesky(a, upper),
  linalg_solve_triangular: (shape, l, b, upper, left = true, unit = false) => solveTriangular(shape, l, b, upper, left, unit),

  // Random draws
  bernoulli: each((p) => +(random.uniform() < p)), "bernoulli.p": (shape, a, p) => drawn(() => +(random.uniform() < p))(shape),
  poisson: each(random.poisson), _standard_gamma: each(random.gamma), multinomial,
  binomial: binary((n, p) => random.binomial(n, p)),
  rand: drawn(random.uniform), rand_like: drawn(random.uniform), randn: drawn(random.normal), randn_like: drawn(random.normal),
  "normal.Tensor_Tensor": binary((loc, scale) => loc + scale * random.normal()),
  "normal.Tensor_float": binary((loc, scale) => loc + scale * random.normal()),
  "normal.float_Tensor": binary((loc, scale) => loc + scale * random.normal()),
  normal_functional: (shape, a, loc = 0, scale = 1) => drawn(() => loc + scale * random.normal())(shape),
  uniform: (shape, a, low = 0, high = 1) => drawn(() => low + (high - low) * random.uniform())(shape),
  exponential: (shape, a, rate = 1) => drawn(() => -Math.log(1 - random.uniform()) / rate)(shape),
  _sample_dirichlet: (shape, a) => lines({ data: Float32Array.from(a.data, random.gamma), shape: a.shape }, -1, (line) => {
    const sum = total(line);
    for (let k = 0; k < line.length; k++) line[k] /= sum;
  }),
};
