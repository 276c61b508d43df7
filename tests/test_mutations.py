"""A planted fault in each estimator is caught by the tests that are there to catch it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What is broken, where, by which text, and the tests that must then fail.
MUTATIONS = {
    "log K is missing": (
        "importance.py",
        "return total - log(count), variance",
        "return total, variance",
        "tests/models/test_sites.py::test_two_layers_at_the_exact_posterior",
    ),
    "the error is not divided by the number of samples": (
        "importance.py",
        "variance = (count / ess - 1) / (count - 1 or",
        "variance = (count / ess - 1) / (1 or",
        "tests/evaluate/test_importance.py::test_the_monte_carlo_error_is_the_spread",
    ),
    "the rise forgets one log": (
        "importance.py",
        "(first - log(half) + second - log(num_samples - half)) / 2",
        "(first + second - log(num_samples - half)) / 2",
        "tests/evaluate/test_importance.py::test_more_samples_help_by_the_rise",
    ),
    "every chunk draws the same numbers twice": (
        "importance.py",
        "if start < skip:",
        "if start <= skip and skip:",
        "tests/evaluate/test_importance.py::test_an_interrupted_estimate_goes_on",
    ),
    "annealing has the wrong sign": (
        "annealed.py",
        "log_weights += (betas[here] - betas[before])",
        "log_weights -= (betas[here] - betas[before])",
        "tests/evaluate/test_annealed.py::test_annealed_weights_average_to_the_evidence",
    ),
    "the kinetic energy has no half": (
        "annealed.py",
        "after = there[0] + beta * there[1] - momentum.square().sum(-1) / 2",
        "after = there[0] + beta * there[1] - momentum.square().sum(-1)",
        "tests/evaluate/test_annealed.py::test_moves_leave_the_posterior_alone",
    ),
    "every move is accepted": (
        "annealed.py",
        "yes = torch.rand_like(share) < share",
        "yes = torch.rand_like(share) < 2",
        "tests/evaluate/test_annealed.py::test_moves_leave_the_posterior_alone",
    ),
    "the way back is not turned around": (
        "annealed.py",
        "upper.append(log(num_chains) - back.logsumexp(0))",
        "upper.append(back.logsumexp(0) - log(num_chains))",
        "tests/evaluate/test_annealed.py::test_sandwich_holds_the_truth",
    ),
    "the Jacobian is forgotten": (
        "programs/unconstrained.py",
        "jacobian = jacobian + sum_rightmost(volume, volume.dim() - jacobian.dim())",
        "jacobian = jacobian + 0 * sum_rightmost(volume, volume.dim() - jacobian.dim())",
        "tests/evaluate/test_annealed.py::test_annealing_on_a_half_line",
    ),
    "the Jacobian of a free guide has the wrong sign": (
        "free.py",
        "dist.Delta(value, -jacobian,",
        "dist.Delta(value, jacobian,",
        "tests/evaluate/test_gaps.py::test_the_ledger_takes_any_program",
    ),
    "the light forgets the effective sample size and the tail": (
        "trust.py",
        "green = ((estimate.khat <= limit) | even) & (estimate.ess >= ESS)",
        "green = estimate.khat == estimate.khat",
        "tests/evaluate/test_verdict.py::test_the_light_is_not_green_where_the_number_is_wrong",
    ),
    "the gaps are swapped": (
        "gaps.py",
        "return next(iter(self.optima.values())) - self.elbo",
        "return self.log_marginal - next(iter(self.optima.values()))",
        "tests/evaluate/test_gaps.py::test_gaps_are_the_closed_forms",
    ),
    "the ledger climbs down": (
        "gaps.py",
        "value = objective(program.model, program.guide, x, **more).loss",
        "value = -objective(program.model, program.guide, x, **more).loss",
        "tests/evaluate/test_gaps.py::test_a_full_covariance_has_no_approximation_gap",
    ),
    "a larger family forgets the smaller one": (
        "gaps.py",
        "bound = torch.maximum(bound, other)",
        "bound = torch.minimum(bound, other)",
        "tests/evaluate/test_gaps.py::test_a_larger_family_never_looks_worse",
    ),
    "a bound that rises is called converged": (
        "gaps.py",
        "return self.left < ENOUGH",
        "return True",
        "tests/evaluate/test_gaps.py::test_a_ledger_that_has_not_converged_says_so",
    ),
    "what optimization lacks is left out of errors": (
        "gaps.py",
        "return (over_data**2 + rise.left**2 + rise.se**2) ** 0.5",
        "return (over_data**2 + rise.mean**2 + rise.se**2) ** 0.5",
        "tests/evaluate/test_gaps.py::test_a_ledger_that_has_not_converged_says_so",
    ),
    "planar flows borrow the bound of full covariances": (
        "gaps.py",
        'isinstance(posterior, NORMALS) and family == "full-covariance"',
        "isinstance(posterior, NORMALS)",
        "tests/evaluate/test_gaps.py::test_planar_flows_do_not_borrow_the_bound_of_full_covariances",
    ),
    "coordinate ascent does not leave the feature out": (
        "coordinates.py",
        "others = log_q - logs[:, i, codes[:, i]]",
        "others = log_q",
        "tests/evaluate/test_gaps.py::test_coordinate_ascent_ends_where_the_bound_is_flat",
    ),
    "a covariance starts from its diagonal": (
        "free.py",
        "rest = (tril.tril(-1) + scale.log().diag_embed())[:, rows, columns]",
        "rest = (0 * tril.tril(-1) + scale.log().diag_embed())[:, rows, columns]",
        "tests/evaluate/test_gaps.py::test_full_covariances_start_at_the_covariance_of_the_guide",
    ),
    "scores of few draws are wide": (
        "sbc.py",
        "(few * scores.square().mean(0)).sqrt(),",
        "scores.square().mean(0).sqrt(),",
        "tests/evaluate/test_calibration.py::test_few_draws_do_not_widen_the_scores",
    ),
    "a score without a spread": (
        "sbc.py",
        "scores = torch.where((variance == 0).any(0), torch.nan, scores)",
        "scores = scores.nan_to_num()",
        "tests/evaluate/test_calibration.py::test_scores_of_features_that_do_not_vary_are_none",
    ),
    "references are better by anything": (
        "advice.py",
        "if gain > Z * error:",
        "if gain > 0:",
        "tests/evaluate/test_advice.py::test_references_are_better_beyond_the_error_of_the_difference",
    ),
    "advice forgets what the ledger tried": (
        "advice.py",
        "full_covariance=won or not tried)",
        "full_covariance=True)",
        "tests/evaluate/test_advice.py::test_no_advice_for_what_gains_nothing",
    ),
    "activity is a standard deviation": (
        "collapse.py",
        "(m.loc.var(0) - m.noise.mean(0))",
        "(m.scale.mean(0) - m.noise.mean(0))",
        "tests/evaluate/test_collapse.py::test_active_units_are_the_eigenvalues_above_the_noise",
    ),
    "the rate has the wrong sign": (
        "collapse.py",
        "terms[name] = terms[name] - density(p[name])",
        "terms[name] = density(p[name]) - terms[name]",
        "tests/evaluate/test_collapse.py::test_rate_and_distortion_are_minus_the_elbo",
    ),
    "the aggregate posterior is not divided by N": (
        "collapse.py",
        "aggregate = pairs.logsumexp(1) - log(count)",
        "aggregate = pairs.logsumexp(1)",
        "tests/evaluate/test_collapse.py::test_information_of_a_linear_gaussian_model",
    ),
    "ranks count what is above in half of the draws": (
        "sbc.py",
        "below += (draw < quantities).to(below.dtype)",
        "below += ((draw - quantities) < 0.3 * quantities.std(0)).to(below.dtype)",
        "tests/evaluate/test_calibration.py::test_sbc_passes_the_exact_posterior_and_rejects_others",
    ),
    "p values of ranks look at one side": (
        "sbc.py",
        "return np.minimum(1.0, 2 * np.minimum(low, high))",
        "return np.minimum(1.0, 2 * low)",
        "tests/evaluate/test_calibration.py::test_uniform_ranks_pass_as_often_as_they_should",
    ),
    "densities are not ranked": (
        "sbc.py",
        "worst = min(1.0, float(p_values.min()) * len(p_values))",
        "worst = min(1.0, float(p_values[:-3].min()) * len(p_values))",
        "tests/evaluate/test_calibration.py::test_a_posterior_that_never_looked_is_found",
    ),
    "the bound from above has the wrong sign": (
        "sbc.py",
        "sum(density(s) for s in p.values()) - sum(density(s) for s in q.values())",
        "sum(density(s) for s in p.values()) + sum(density(s) for s in q.values())",
        "tests/evaluate/test_calibration.py::test_the_bound_from_above_is_the_closed_form",
    ),
    "the upper end forgets the tail": (
        "interval.py",
        "upper = torch.maximum(end(heavier, 0.975), estimate)",
        "upper = torch.maximum(end(wide.clamp(max=0.0), 0.975), estimate)",
        "tests/evaluate/test_interval.py::test_intervals_hold_the_truth_as_often_as_they_say",
    ),
    "a value of z is summed twice": (
        "listed.py",
        "codes = torch.arange(prod(sizes), device=split.device)",
        "codes = torch.arange(prod(sizes) + 1, device=split.device) % prod(sizes)",
        "tests/evaluate/test_importance.py::test_bits_are_summed_up_to_a_limit",
    ),
    "a Normal in the place of Student's t": (
        "compare.py",
        "return 2 * float(stdtr(freedom, -t))",
        "return 2 * float(stdtr(1000, -t))",
        "tests/evaluate/test_compare.py::test_false_alarms_of_comparisons_are_as_many_as_promised",
    ),
    "a pair is not a pair": (
        "compare.py",
        "se = float(differences.mean()), float(differences.std()) / sqrt(len(a))",
        "se = float(differences.mean()), float((a.std() ** 2 + b.std() ** 2) ** 0.5) / sqrt(len(a))",
        "tests/evaluate/test_compare.py::test_pairs_are_compared",
    ),
    "EM forgets the weights": (
        "classical.py",
        "return (_bernoulli(_bits(test), means) + weights.log()).logsumexp(1)",
        "return _bernoulli(_bits(test), means).logsumexp(1)",
        "tests/evaluate/test_classical.py::test_discrete_references_sum_to_one",
    ),
    "the Gaussian forgets a volume": (
        "classical.py",
        "volume = 2 * tril.diagonal().log().sum()",
        "volume = tril.diagonal().log().sum()",
        "tests/evaluate/test_classical.py::test_classical_references",
    ),
    "closed forms are taken everywhere": (
        "objectives/kl.py",
        "exact[name] = {*given} <= {*drawn[: drawn.index(name)]}",
        "exact[name] = True",
        "tests/models/test_sites.py::test_closed_forms_where_they_are_exact",
    ),
    "a known value is scored as a draw": (
        "distributions/known.py",
        "torch.where(self.there, torch.where(same, 0.0, NEVER).to(free.dtype), free)",
        "free",
        "tests/models/test_sites.py::test_labels_against_brute_force",
    ),
    "listed values do not weigh the data": (
        "objectives/enumeration.py",
        "value = weight * density(p)",
        "value = density(p)",
        "tests/models/test_sites.py::test_labels_against_brute_force",
    ),
    "holes are filled with zeros and scored": (
        "distributions/partial.py",
        "parts = torch.where(there, law.log_prob(filled), 0.0)",
        "parts = law.log_prob(filled)",
        "tests/models/test_sites.py::test_holes_against_probabilistic_pca",
    ),
    "a chain starts at its second state": (
        "distributions/markov.py",
        "torch.cat([first, value[..., :-1, :]], -2)",
        "value",
        "tests/models/test_sites.py::test_sequences_against_the_kalman_filter",
    ),
    "evidence has the prior's weight": (
        "posteriors/corrected.py",
        "error.pow(-2) * there",
        "scale.pow(-2) * there",
        "tests/models/test_sites.py::test_a_ladder_whose_evidence_is_exact",
    ),
    "imputed data are not weighed": (
        "evaluate/imputation.py",
        "share = log_w.softmax(0)",
        "share = torch.zeros_like(log_w).softmax(0)",
        "tests/models/test_sites.py::test_imputed_data_have_their_conditional_moments",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_fault_is_caught(name, tmp_path):
    file, right, wrong, test = MUTATIONS[name]
    for folder in ("pyro_vae", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "pyro_vae" / (file if "/" in file else f"evaluate/{file}")
    source = path.read_text()
    assert source.count(right) == 1, f"{file} says {right!r} {source.count(right)} times"
    path.write_text(source.replace(right, wrong))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout[-2000:]
    assert "AssertionError" in done.stdout or "assert" in done.stdout
