"""KL terms of latent sites over training, and the warning that names a site."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from kinds import KINDS

import pyro_vae as pv
from pyro_vae.evaluate import CollapseWatch, active_units, rate_distortion, site_activities


@pytest.mark.parametrize("kind", ["bottom-up", "top-down", "with a net"])
def test_kl_terms_of_sites_sum_to_that_of_all(kind):
    made = KINDS[kind]()
    history = pv.fit(made.vae, made.x, epochs=2, progress=False)
    row = [row for row in history.rows if "loss" in row][-1]
    whole = rate_distortion(made.vae, made.x, 1)
    assert row["kl_z1"] + row["kl_z2"] == pytest.approx(float(whole.rate), abs=1e-4)
    assert row["active_z1"] + row["active_z2"] == row["active_units"]
    parts = site_activities(made.vae, made.x)
    torch.testing.assert_close(torch.cat([*parts.values()]), active_units(made.vae, made.x))


def test_one_site_needs_no_parts():
    made = KINDS["plain"]()
    (row,) = (r for r in pv.fit(made.vae, made.x, epochs=1, progress=False).rows if "loss" in r)
    assert not [name for name in row if name.startswith("kl_") and name != "kl_weight"]


class Direct(torch.nn.Module):
    """p(x | c) by a network alone; the guide draws nothing."""

    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Linear(2, 3)

    def law(self, c):
        return dist.Normal(self.mean(c), 1.0).to_event(1)

    def model(self, x=None, *, c, batch_size=1):
        with pyro.plate("data", len(c)):
            return pyro.sample("x", self.law(c), obs=x)

    def guide(self, x, *, c):
        pass


def test_a_program_without_latent_variables_trains_by_its_log_density():
    c, x = torch.randn(60, 2), torch.randn(60, 3)
    direct = Direct()
    history = pv.fit(direct, pv.data.as_split(x, c=c), epochs=2, progress=False)
    assert history["active_units"] == [0, 0]
    torch.testing.assert_close(pv.elbo(direct, x, c=c), direct.law(c).log_prob(x).double())


@pytest.mark.parametrize("per", ["feature", "site"])
def test_free_bits_of_each_site(per):
    """Below them the KL term has no gradient, and counts as that many nats."""
    vae, x, _ = KINDS["top-down"]()
    sizes = 5 if per == "feature" else 2
    chosen = pv.plan(vae, x, free_bits=1000.0, free_bits_per=per)
    terms = chosen.objective(vae.model, vae.guide, x)
    assert float((terms.loss + terms.reconstruction).detach()) == pytest.approx(
        1000 * sizes, rel=1e-5
    )


def test_a_site_that_is_not_used_is_named():
    watch = CollapseWatch(site="z2")
    said = [watch.update(torch.tensor([0.001, 0.002])) for _ in range(6)]
    assert [bool(text) for text in said] == [False, False, False, True, False, False]
    assert said[3].startswith("No latent unit of z2 has been active for 3 epochs")
    falling = CollapseWatch(site="z2")
    warnings = [falling.update(torch.tensor([1.0, 0.5 * 0.6**i])) for i in range(4)]
    assert warnings[-1].startswith("1 of 2 active latent units of z2 will have collapsed")
    used = CollapseWatch(site="z2")
    assert not any(used.update(torch.tensor([0.001, 0.5])) for _ in range(6))


def test_a_collapse_in_training_names_its_site():
    made = KINDS["bottom-up"]()
    with torch.no_grad():  # a top layer that nothing tells of
        for p in [*made.vae.posterior["z2"].parameters(), *made.vae.prior["z1"].parameters()]:
            p.zero_()
    history = pv.fit(made.vae, made.x, epochs=5, lr=1e-6, progress=False)
    warnings = [row["warning"] for row in history.rows if "warning" in row]
    assert [text for text in warnings if "No latent unit of z2" in text]
    assert not [text for text in warnings if "of z1" in text and "No latent" in text]
