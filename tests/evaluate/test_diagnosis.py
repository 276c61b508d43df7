"""A diagnosis says what was summed."""

from checks import categorical

import pyro_vae as pv
from pyro_vae import report


def test_a_diagnosis_of_categories_says_that_it_sums():
    vae, x = categorical(12, spread=2.0)
    data = pv.data.as_split(x)
    found = pv.diagnose(vae, data, data, num_samples=10, num_data=20, num_steps=5)
    told = report.text(found, "categories")
    assert "log p(x) is a sum over all values" in told and "importance samples" not in told
    assert "one-hot blocks" in told and "neHots" not in told
    record = found.record()
    assert abs(record["test_approximation_gap"]) < 1e-4 and record["test_gap_converged"]
    assert record["simulated_eubo"] > record["simulated_elbo"]
    assert not any("approximation gap" in sentence for sentence in found.advice)
    assert not any("posterior.kind" in sentence for sentence in found.advice)
