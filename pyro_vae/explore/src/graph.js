// Runs a recorded function of tensors.
import { OPERATIONS, size } from "./operations.js";

// Returns a function of inputs by name, flat arrays, that returns outputs by name.
export function compile(graph, arrays) {
  const steps = graph.steps.map(([name, args, shape]) => {
    if (name === "input") return (inputs) => ({ data: inputs[args[0]], shape });
    if (name === "constant") {
      const constant = { data: arrays[args[0]], shape };
      return () => constant;
    }
    if (name === "getitem") return (_, done) => done[args[0].value][args[1]];
    const operation = OPERATIONS[name];
    if (!operation) throw new Error(`Expected an operation of this page; got ${name}.`);
    const several = Array.isArray(shape[0]);
    return (_, done) => {
      const found = operation(shape, ...args.map((a) => filled(a, done)));
      return several ? found.map((data, i) => ({ data, shape: shape[i] })) : { data: found, shape };
    };
  });
  return (inputs) => {
    const done = [];
    for (const step of steps) done.push(step(inputs, done));
    return Object.fromEntries(Object.entries(graph.outputs).map(([name, i]) => [name, done[i].data]));
  };
}

function filled(argument, done) {
  if (argument === null || typeof argument !== "object") return argument;
  if (Array.isArray(argument)) return argument.map((a) => filled(a, done));
  return "number" in argument ? Number(argument.number.replace("inf", "Infinity")) : done[argument.value];
}

export const inputsOf = (graph) =>
  Object.fromEntries(graph.steps.filter(([name]) => name === "input").map(([, [name], shape]) => [name, size(shape)]));
