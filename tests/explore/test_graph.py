"""A recorded function is the function: at other inputs, in PyTorch and in JavaScript."""

import base64
import json
import shutil
import subprocess
import zlib
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import ALLOWED, bound, build, name_of
from pyro import poutine
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.explore.graph import Graph, record
from pyro_vae.explore.packing import Arrays, packed_graph
from pyro_vae.explore.programs import decoder, looker
from pyro_vae.explore.recording import known_operations
from pyro_vae.programs import undisturbed

SOURCE = Path(pv.__file__).parent / "explore" / "src"
node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not there")
RUN = f"""
import {{ unpack }} from "{SOURCE}/arrays.js";
import {{ compile }} from "{SOURCE}/graph.js";
import {{ seed }} from "{SOURCE}/random.js";
let text = "";
for await (const part of process.stdin) text += part;
const {{ jobs, packed }} = JSON.parse(text), arrays = await Promise.all(packed.map(unpack));
console.log(JSON.stringify(jobs.map(({{ graph, inputs, times }}) => {{
  const run = compile(graph, arrays);
  seed(1);
  const given = Object.fromEntries(Object.entries(inputs).map(([n, v]) => [n, Float32Array.from(v)]));
  return Array.from({{ length: times }}, () =>
    Object.fromEntries(Object.entries(run(given)).map(([n, v]) => [n, Array.from(v, (x) => Number.isFinite(x) ? x : String(x))])));
}})));
"""


def in_node(jobs: list[tuple[Graph, dict[str, Tensor], int]]) -> list[list[dict[str, Tensor]]]:
    """What graphs return in JavaScript, several times each."""
    arrays, packed = Arrays(), []
    for graph, inputs, times in jobs:
        values = {
            n: ["NaN" if v != v else v for v in x.flatten().tolist()] for n, x in inputs.items()
        }
        packed.append({"graph": packed_graph(graph, arrays), "inputs": values, "times": times})
    text = json.dumps({"jobs": packed, "packed": arrays.packed})
    command = ["node", "--input-type=module", "-e", RUN]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    number = lambda v: float(str(v).replace("Infinity", "inf"))  # noqa: E731
    return [
        [{n: torch.tensor([*map(number, v)]) for n, v in out.items()} for out in outs]
        for outs in json.loads(done.stdout)
    ]


class Highest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        values, places = x.cummax(-2)
        masked = values.clone()
        masked[x < 0] = 7.0
        return torch.cat([values, places.to(x), masked, x[..., [2, 0], :]], -2)


NETS = {
    "mlp": (pv.nn.MLP(3, [8], 5, "SiLU"), (3,)),
    "gelu": (pv.nn.MLP(3, [8, 8], 5, "GELU"), (3,)),
    "encoder": (pv.nn.ConvEncoder((2, 8, 12), 4, (3, 5), 7), (2, 8, 12)),
    "decoder": (pv.nn.ConvDecoder(3, (2, 8, 12), (3, 5), 7), (3,)),
    "made": (pv.nn.MADE(4, [8], 2), (4,)),
    "backward": (pv.nn.Backward(3, 6, 2), (5, 3)),
    "cummax": (Highest(), (5, 3)),
    "gated": (pv.nn.Gated(3, 6), (3,)),
    "observed": (nn.Sequential(pv.nn.Observed(), nn.Linear(6, 2)), (3,)),
    "views": (pv.nn.Views([([0, 2], nn.Linear(2, 4)), ([1], nn.Linear(1, 4))]), (3,)),
    "norm": (
        nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.ELU(), nn.BatchNorm1d(6).eval()),
        (3,),
    ),
}


@node
def test_networks_are_the_same_in_javascript():
    jobs, wanted = [], []
    for net, shape in NETS.values():
        function = lambda values, net=net: {"y": net(values["x"])}  # noqa: E731
        graph = record(function, {"x": torch.randn(1, *shape)})
        assert graph.names() <= known_operations()
        x = torch.randn(1, *shape)
        jobs.append((graph, {"x": x}, 1))
        with torch.no_grad():
            wanted.append(net(x).flatten())
        torch.testing.assert_close(graph.run({"x": x})["y"].flatten(), wanted[-1])
    for name, ((out,),), y in zip(NETS, ([o] for o in in_node(jobs)), wanted):
        torch.testing.assert_close(out["y"], y, atol=1e-5, rtol=1e-5, msg=name)


def test_what_does_not_depend_on_inputs_is_computed_once():
    net = pv.nn.MLP(3, [8], 5)
    graph = record(
        lambda v: {"y": net(v["x"]) + torch.ones(5).cumsum(0)}, {"x": torch.zeros(1, 3)}
    )
    assert "cumsum" not in graph.names() and "t" not in graph.names()


def test_what_outputs_do_not_need_is_left_out():
    graph = record(
        lambda v: {"y": 2 * v["x"], **({} if v["x"].exp().shape else {})}, {"x": torch.ones(3)}
    )
    assert graph.names() <= {"mul.Tensor", "clone"}


def test_values_must_not_decide():
    with pytest.raises(RuntimeError):
        record(lambda v: {"y": v["x"] if v["x"].sum() > 0 else -v["x"]}, {"x": torch.ones(3)})


def test_half_precision_rounds_large_constants_alone():
    weight, few = torch.randn(10, 10), torch.randn(3)
    graph = record(lambda v: {"y": v["x"] @ weight, "z": few * v["w"]}, {"x": torch.ones(1, 10), "w": torch.ones(3)})  # fmt: skip
    inputs = {"x": torch.randn(1, 10), "w": torch.randn(3)}
    found = graph.halved().run(inputs)
    assert torch.equal(found["z"], few * inputs["w"])
    torch.testing.assert_close(found["y"], inputs["x"] @ weight.half().float())
    assert not torch.equal(found["y"], inputs["x"] @ weight)


def test_arrays_are_kept_once_and_come_back():
    arrays = Arrays()
    x = torch.randn(7, 3)
    assert arrays.add(x) == arrays.add(x.clone()) == 0 and arrays.add(x.half(), np.float16) == 1
    assert arrays.add(torch.tensor([1e6]), np.float16) == 2  # would be infinite
    first, second, third = arrays.packed
    assert [first["type"], second["type"], third["type"]] == ["float32", "float16", "float32"]
    back = np.frombuffer(zlib.decompress(base64.b64decode(first["data"])), np.float32)
    assert np.array_equal(back, x.flatten().numpy())


@node
def test_the_operations_that_python_knows_are_those_of_the_page():
    names = subprocess.run(
        ["node", str(SOURCE / "names.js")], capture_output=True, text=True, check=True
    )
    assert frozenset(names.stdout.split()) == known_operations()


# --- Families -----------------------------------------------------------------------------------


def graphs_of(triple) -> list[tuple[str, Graph, dict[str, Tensor], dict[str, Tensor]]]:
    """Graphs of a VAE with inputs other than those of recording, and what PyTorch makes of them."""
    vae, x = build(triple)
    found = []
    with undisturbed(vae, 0):
        first, second = (poutine.trace(vae.model).get_trace(x[i : i + 1]) for i in (0, 1))
        programs = [("decode", decoder(vae, ()), {"z": first.nodes["z"]["value"]}, {"z": second.nodes["z"]["value"]})]  # fmt: skip
        if not getattr(vae.posterior, "index", False):
            programs.append(("look", looker(vae), {"x": x[:1]}, {"x": x[1:2]}))
        for name, function, inputs, others in programs:
            graph = record(function, inputs)
            assert graph.names() <= known_operations(), name_of(triple)
            torch.manual_seed(1)
            here = graph.run(others)
            torch.manual_seed(1)
            there = function(others)
            fixed = ("mean",) if name == "decode" else ("loc.z", "scale.z")
            for key in fixed:
                if key in there and "draw" not in key and triple[2]["kind"] not in FLOWS:
                    torch.testing.assert_close(here[key], there[key], atol=1e-5, rtol=1e-4, equal_nan=True)  # fmt: skip
            found.append((name, graph, others, there))
    return found


FLOWS = ("iaf", "planar", "sylvester", "neural-spline", "householder")  # moments from draws
TRIPLES = [t for t in ALLOWED if t[0]["kind"] in ("standard-normal", "bernoulli", "hypersphere-uniform", "categorical")]  # fmt: skip


def _families_agree(triples) -> None:
    jobs, wanted = [], []
    for triple in triples:
        for name, graph, inputs, there in graphs_of(triple):
            jobs.append((graph, inputs, 200))
            wanted.append((f"{name_of(triple)} {name}", there, graph, inputs))
    comparisons = 0
    for outs, (name, there, graph, inputs) in zip(in_node(jobs), wanted):
        for key in ("mean",) if "mean" in there and "decode" in name else ("loc.z",):
            if key in there and not any(flow in name for flow in FLOWS):
                torch.testing.assert_close(outs[0][key], there[key].flatten(), atol=1e-4, rtol=1e-4, equal_nan=True, msg=f"{name} {key}")  # fmt: skip
        comparisons += 1
        for key in ("draw",) if "decode" in name else ("value.z",):
            ours = torch.stack([graph.run(inputs)[key].flatten() for _ in range(200)]).double()
            theirs = torch.stack([out[key] for out in outs]).double()
            ours, theirs = (v.atan() for v in (ours, theirs))  # heavy tails have no mean
            spread = (ours.var(0) + theirs.var(0)).clamp(min=1e-12).sqrt() / sqrt(200)
            z = (ours.mean(0) - theirs.mean(0)).abs() / spread
            same = (ours.mean(0) - theirs.mean(0)).abs() < 1e-6
            assert (z[~same] < bound(500)).all(), (name, key, z)


@node
def test_families_are_the_same_in_javascript():
    kinds = ("gaussian", "binomial", "poisson", "categorical")
    some = [t for t in TRIPLES if t[0]["kind"] == "standard-normal" and t[1]["kind"] in kinds and t[2]["kind"] == "mean-field-normal"]  # fmt: skip
    _families_agree([*some[:4], next(t for t in TRIPLES if t[0]["kind"] == "bernoulli")])


@node
@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_all_families_are_the_same_in_javascript(part):
    _families_agree(TRIPLES[part::4])
