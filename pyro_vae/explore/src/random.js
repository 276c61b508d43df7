// Random numbers that a seed decides, so that a draw can be shown again.
let state = 1;

export function seed(number) {
  state = (Math.imul(number, 2654435761) ^ 0x9e3779b9) >>> 0;
}

export function uniform() { // mulberry32
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

export function normal() { // Box and Muller
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

export function gamma(shape) { // Marsaglia and Tsang (2000)
  if (shape < 1) return gamma(shape + 1) * Math.pow(1 - uniform(), 1 / shape);
  const d = shape - 1 / 3, c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = normal(), v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
  }
}

export function poisson(rate) {
  if (rate > 500) return Math.max(0, Math.round(rate + Math.sqrt(rate) * normal()));
  let count = -1;
  for (let sum = 0; sum <= rate; sum -= Math.log(1 - uniform())) count += 1;
  return count;
}

export function binomial(count, p) {
  if (count > 2000) {
    const drawn = count * p + Math.sqrt(count * p * (1 - p)) * normal();
    return Math.min(count, Math.max(0, Math.round(drawn)));
  }
  let sum = 0;
  for (let i = 0; i < count; i++) sum += uniform() < p;
  return sum;
}

// A place with probability in proportion to weights[from ... from + count - 1].
export function place(weights, from, count) {
  let total = 0;
  for (let i = 0; i < count; i++) total += weights[from + i];
  let left = uniform() * total;
  for (let i = 0; i < count - 1; i++) {
    left -= weights[from + i];
    if (left < 0) return i;
  }
  return count - 1;
}
