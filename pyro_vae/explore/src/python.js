// A snippet of Python that reproduces the point.
const list = (values) => `[${Array.from(values, (v) => Number(v.toFixed(5))).join(", ")}]`;

export function snippet(model, state) {
  const { point, site } = state, run = model.page.run || "runs/...";
  const drawn = model.page.drawn[site] ?? [];
  const held = model.sites.filter((s) => !drawn.includes(s.name));
  const lines = ["import torch", "import pyro_vae as pv", "", `vae = pv.load(${JSON.stringify(run)})`];
  const tensor = (values, shape) => `torch.tensor(${list(values)}).reshape(1, ${shape.join(", ")})`;
  const named = held.length > 1 || drawn.length;
  const known = model.conditions.map((c) => [c.name, tensor(point.c[c.name], c.shape)]);
  if (named) {
    lines.push(...held.slice(1).map((s) => `${s.name} = ${tensor(point.z[s.name], s.shape)}`));
    known.push(...held.slice(1).map((s) => [s.name, s.name]));
  }
  lines.push(`z = ${tensor(point.z[held[0].name], held[0].shape)}${held.length > 1 || drawn.length ? `  # ${held[0].name}` : ""}`);
  const more = known.map(([name, value]) => `, ${name}=${value}`).join("");
  lines.push(`mean = pv.evaluate.decode(vae, z${more})`, `draw = pv.evaluate.decode(vae, z, "sample"${more})`);
  return `${lines.join("\n")}\n`;
}
