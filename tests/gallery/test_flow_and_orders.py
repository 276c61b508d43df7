"""Exact densities without z: they integrate or sum to one, and samples follow them."""

from itertools import product

import pytest
import torch
from checks import bound, z_scores

from pyro_vae.gallery import MADE, NormalizingFlow, PixelCNN


def perturbed(model, spread=0.3):
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data += spread * torch.randn_like(parameter)
    return model


def plane(end, step):
    side = torch.arange(-end, end, step)
    return torch.cartesian_prod(side, side), step**2


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("transform", "end", "step", "exactly"),
    [("affine", 16.0, 0.08, 1e-8), ("spline", 9.0, 0.05, 2e-4)],  # splines have kinks
)
def test_a_flow_integrates_to_one(transform, end, step, exactly):
    options = {"transform": transform, "x_scale": 1.3, "x_mean": torch.ones(2)}
    flow = perturbed(NormalizingFlow((2,), 2, (8,), **options), 0.1)
    points, area = plane(end, step)
    with torch.no_grad():
        p = flow.log_prob(points).exp() * area
        assert abs(float(p.sum()) - 1) < exactly
        stretched = flow.law().log_prob(points / 1.3).exp() * area  # without the volume
        assert abs(float(stretched.sum()) - 1) > 0.1
        drawn = flow.sample(4000)
        mean, second = p @ points, p @ points.square()
    assert z_scores(drawn, mean).abs().max() < bound(4)
    assert z_scores(drawn.square(), second).abs().max() < bound(4)


@pytest.mark.usefixtures("float64")
def test_levels_with_noise_have_one_mass():
    """E exp of the bound is P(x), and sums to one over all x."""
    flow = perturbed(NormalizingFlow((2,), 2, (8,), num_levels=3), 0.1)
    every = torch.tensor([*product(range(3), repeat=2)], dtype=torch.double)
    with torch.no_grad():
        draws = torch.stack([flow.log_prob(every) for _ in range(500)])
        p = draws.exp()
        assert abs(z_scores(p.sum(1), 1.0)) < bound(1)
        assert (draws.mean(0) < p.mean(0).log()).all() and flow.density == "lower bound"
        drawn = flow.sample(4000)
        share = (drawn[:, None] == every).all(-1).double()
        error = (p.std(0).square() / len(p) + share.std(0).square() / len(share)).sqrt()
        assert ((p.mean(0) - share.mean(0)).abs() / error).max() < bound(9)


MODELS = {
    "made": (lambda: MADE((4,), 3, (8,)), 3),
    "made-bits": (lambda: MADE((1, 2, 2), 2, (8, 8)), 2),
    "pixel-cnn": (lambda: PixelCNN((2, 1, 2), 3, 8, 2, 3), 3),
    "pixel-cnn-bits": (lambda: PixelCNN((1, 2, 3), 2, 8, 2, 3), 2),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", MODELS)
def test_probabilities_of_all_data_sum_to_one(name):
    make, levels = MODELS[name]
    model = perturbed(make(), 0.7)
    size = model.logits[..., 0].numel()
    every = torch.tensor([*product(range(levels), repeat=size)], dtype=torch.double)
    every = every.reshape(-1, *model.x_shape)
    with torch.no_grad():
        p = model.log_prob(every).exp()
        assert abs(float(p.sum()) - 1) < 1e-9
        drawn = model.sample(2000)
        share = (drawn[:, None] == every).flatten(2).all(-1).double()
        seen = p > 5 / 2000
        z = (share.mean(0) - p) / (p * (1 - p) / 2000).sqrt()
        assert z[seen].abs().max() < bound(len(every))
        for buffer, mask in model.named_buffers():  # without its order it is no distribution
            if "mask" in buffer:
                mask.fill_(True)
        assert abs(float(model.log_prob(every).exp().sum()) - 1) > 1e-3


def test_data_of_other_forms_are_refused():
    with pytest.raises(ValueError, match="Expected images of shape"):
        PixelCNN((4,), 3)
    with pytest.raises(ValueError, match="Expected num_levels of at least 2"):
        MADE((4,), 1)
