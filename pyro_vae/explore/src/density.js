// Densities in the plane, on a grid.
export const SIDE = 96;
const MOST = 1000; // rows that are added, spread evenly

// Adds a Normal of every row; spread(row) returns [xx, xy, yy], its covariance.
export function shade(count, position, spread, box) {
  const [left, right, low, high] = box, grid = new Float64Array(SIDE * SIDE);
  const dx = (right - left) / SIDE, dy = (high - low) / SIDE;
  const some = Math.min(count, MOST);
  for (let k = 0; k < some; k++) {
    const n = Math.floor((k * count) / some), [x, y] = position(n);
    let [xx, xy, yy] = spread(n);
    xx += dx * dx; // no narrower than a cell
    yy += dy * dy;
    const det = Math.max(xx * yy - xy * xy, 1e-6 * xx * yy), weight = 1 / Math.sqrt(det);
    const reachX = 2.8 * Math.sqrt(xx), reachY = 2.8 * Math.sqrt(yy);
    const from = Math.max(0, Math.floor((x - reachX - left) / dx)), to = Math.min(SIDE - 1, Math.ceil((x + reachX - left) / dx));
    const first = Math.max(0, Math.floor((y - reachY - low) / dy)), last = Math.min(SIDE - 1, Math.ceil((y + reachY - low) / dy));
    for (let j = first; j <= last; j++) {
      const b = low + (j + 0.5) * dy - y;
      for (let i = from; i <= to; i++) {
        const a = left + (i + 0.5) * dx - x;
        grid[j * SIDE + i] += weight * Math.exp((-0.5 * (yy * a * a - 2 * xy * a * b + xx * b * b)) / det);
      }
    }
  }
  return ranked(grid);
}

// For each cell the share of the mass in cells that are denser: 0 at the peak, 1 where nothing is.
function ranked(grid) {
  const order = Array.from(grid.keys()).sort((a, b) => grid[b] - grid[a]);
  const total = grid.reduce((a, b) => a + b, 0) || 1, out = new Float32Array(grid.length);
  let sum = 0;
  for (const cell of order) {
    sum += grid[cell] / total;
    out[cell] = grid[cell] > 0 ? sum : 1;
  }
  return out;
}

// The lines on which a grid has a value, as [x1, y1, x2, y2] in cells.
export function contour(grid, value) {
  const lines = [];
  for (let j = 0; j < SIDE - 1; j++) for (let i = 0; i < SIDE - 1; i++) {
    const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
    const v = corners.map(([a, b]) => grid[b * SIDE + a] - value), cuts = [];
    for (let k = 0; k < 4; k++) {
      const m = (k + 1) % 4;
      if (v[k] < 0 === v[m] < 0) continue;
      const t = v[k] / (v[k] - v[m]);
      cuts.push([0, 1].map((d) => corners[k][d] + t * (corners[m][d] - corners[k][d]) + 0.5));
    }
    for (let k = 0; k + 1 < cuts.length; k += 2) lines.push([...cuts[k], ...cuts[k + 1]]);
  }
  return lines;
}
