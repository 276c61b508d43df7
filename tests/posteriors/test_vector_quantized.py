"""Codes: gradients by hand, running means in closed form, a prior that sums to one, exact log p(x)."""

import copy
import math

import pytest
import torch
from checks import bound, z_scores

import pyro_vae as pv
from pyro_vae.build import build_vae
from pyro_vae.config import validate
from pyro_vae.distributions import Coded, Quantized, Residual
from pyro_vae.evaluate import code_use
from pyro_vae.nn import Codebook
from pyro_vae.programs import is_scored, weigh

K, N, E, D = 4, 3, 2, 6  # codes, blocks, size of a vector, size of x
MLP = pv.nn.MLP


def made(seed=0):
    torch.manual_seed(seed)
    posterior = pv.posteriors.VectorQuantized(MLP(D, [8], N * E), N * E, K, E)
    prior = pv.priors.Codes.from_recipe(posterior, [12])
    vae = pv.VAE(prior, pv.likelihoods.Bernoulli(MLP(N * E, [8], D)), posterior)
    for parameter in vae.parameters():
        parameter.data += 0.4 * torch.randn_like(parameter)
    return vae, torch.bernoulli(torch.full((50, D), 0.5))


def tracked(model, guide, x):
    with pv.objectives.track_codebook():
        return pv.objectives.ELBO()(model, guide, x).loss


@pytest.mark.usefixtures("float64")
def test_the_gradient_is_the_hand_written_one():
    vae, x = made()
    book, encoder, beta = vae.posterior.codebook, vae.posterior.encoder, 0.25
    pv.objectives.ELBO()(vae.model, vae.guide, x).loss.backward()
    ours = [p.grad.clone() for p in encoder.parameters()]
    encoded = encoder(x)
    z = book.embed(torch.cdist(encoded.unflatten(-1, (N, E)), book.vectors).argmin(-1))
    z.requires_grad_()
    (slope,) = torch.autograd.grad(-vae.likelihood(z).log_prob(x).mean(), z)
    commitment = 2 * beta * (encoded - z).detach() / len(x)
    hand = torch.autograd.grad(encoded, [*encoder.parameters()], slope + commitment)
    for mine, theirs in zip(ours, hand):
        torch.testing.assert_close(mine, theirs)
    twin = torch.autograd.grad(encoder(x), [*encoder.parameters()], slope)  # uncommitted
    assert (twin[0] - ours[0]).abs().max() > 1e-4
    assert all(p.grad.abs().sum() > 0 for p in vae.prior.parameters())


@pytest.mark.usefixtures("float64")
def test_running_means_are_those_in_closed_form():
    torch.manual_seed(0)
    book, decay, past = Codebook(K, E), 0.8, []
    centres = 5 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    book.vectors.copy_(centres)
    for _ in range(6):
        e = centres[torch.randint(K, (40, N))] + torch.randn(40, N, E)
        past.append((book.codes(e.flatten(-2)).flatten(), e.reshape(-1, E)))
        book.follow(book.moved(e.flatten(-2), decay))
    weights = decay ** torch.arange(5.0, -1.0, -1.0)
    for k in range(K):
        total = sum(w * e[codes == k].sum(0) for w, (codes, e) in zip(weights, past))
        count = sum(w * (codes == k).sum() for w, (codes, _) in zip(weights, past))
        torch.testing.assert_close(book.vectors[k], total / count)
    assert int(book.revived) == 0
    last = past[-1][1][past[-1][0] == 0].mean(0)  # the twin: the last batch alone
    assert (book.vectors[0] - last).abs().max() > 1e-2


def test_dead_codes_start_anew_at_data():
    torch.manual_seed(0)
    book, e = Codebook(K, E), torch.randn(20, E) + 3
    book.vectors.copy_(torch.tensor([[3.0, 3.0], [-9.0, 9.0], [-9.0, 0.0], [-9.0, -9.0]]))
    book.follow(book.moved(e, 0.9))
    assert int(book.revived) == 3
    torch.testing.assert_close(book.vectors[0], e.mean(0))
    assert torch.equal(book.vectors[1:], e[1:K])
    for _ in range(60):  # a code that fades
        book.follow(book.moved(e[book.codes(e)[:, 0] != 2], 0.9))
    assert int(book.revived) > 3
    assert len(book.codes(e).unique()) > 1


@pytest.mark.usefixtures("float64")
def test_the_prior_sums_to_one_and_draws_what_it_says():
    vae, _ = made()
    law = vae.prior()
    z = law.enumerate_support()
    assert len(z.unique(dim=0)) == K**N and law.support.check(z).all()
    p = law.log_prob(z).exp().detach()
    assert abs(float(p.sum()) - 1) < 1e-12 and float(p.max() / p.min()) > 2
    assert z_scores(law.sample((20_000,)), (p[:, None] * z).sum(0)).abs().max() < bound(N * E)
    vae.prior.net.mask0[:] = vae.prior.net.mask1[:] = True  # the twin: a code sees itself
    assert abs(float(law.log_prob(z).exp().sum().detach()) - 1) > 1e-3


@pytest.mark.usefixtures("float64")
def test_log_p_is_exact_and_the_soft_twin_agrees():
    vae, x = made()
    vae.posterior.temperature.fill_(20.0)  # weights with a variance
    exact = pv.log_marginal(vae, x).log_marginal
    vae.eval()
    assert isinstance(vae.posterior(x), Coded)
    with torch.no_grad():
        z = vae.prior().enumerate_support()
        joint = vae.likelihood(z[:, None].expand(-1, len(x), -1)).log_prob(x)
        sums = (joint + vae.prior().log_prob(z)[:, None]).logsumexp(0)
        soft = weigh(vae.model, vae.guide, x, 4000).log_weights
    torch.testing.assert_close(exact, sums)
    gaps = (soft - exact).exp()
    assert z_scores(gaps, torch.ones(len(x))).abs().max() < bound(len(x))
    found = code_use(vae, x)
    hard = found.rate.value + found.distortion.value
    assert hard > -float(exact.mean()) + 0.1  # a bound, and a loose one
    vae.train()
    assert isinstance(vae.posterior(x), Quantized)
    with torch.no_grad():
        loss = pv.objectives.ELBO()(vae.model, vae.guide, x).loss
    assert float(loss) == pytest.approx(hard)


def test_code_use_counts():
    vae, x = made()
    found = code_use(vae, x)
    assert int(found.counts.sum()) == N * len(x) and 1 < found.perplexity <= K
    assert found.dead == int((found.counts == 0).sum())
    assert found.even_rate == pytest.approx(N * torch.tensor(float(K)).log().item())
    assert found.record()["dead_codes"] == found.dead
    with pytest.raises(ValueError, match="Expected a VAE with a codebook"):
        code_use(pv.VAE(pv.priors.StandardNormal(2), vae.likelihood, vae.posterior), x)
    metrics = pv.evaluate.evaluate(vae, pv.data.as_split(x), 10)
    assert metrics["perplexity"] == found.perplexity


def test_a_compiled_step_moves_the_codebook_as_an_eager_one():
    states = []
    for compiled in (True, False):
        vae, x = made()
        if compiled:
            adam = torch.optim.Adam
            svi = pv.CompiledSVI(vae.model, vae.guide, adam, tracked, backend="graph")
            losses = [float(svi.step(x)) for _ in range(5)]
            assert len({*losses}) == 5
        else:
            optimizer = torch.optim.Adam(vae.parameters())
            for _ in range(5):
                optimizer.zero_grad()
                tracked(vae.model, vae.guide, x).backward()
                optimizer.step()
        states.append(copy.deepcopy(vae.state_dict()))
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], msg=lambda m, n=name: f"{n}: {m}")


def test_resumed_training_is_that_of_one_go(tmp_path):
    kwargs = {"batch_size": 20, "progress": False, "compile": "no"}
    once, x = made()
    start = once.posterior.codebook.vectors.clone()
    pv.fit(once, x, epochs=4, **kwargs)
    again, _ = made()
    pv.fit(again, x, epochs=2, out=tmp_path / "r", **kwargs)
    other, _ = made(1)
    pv.fit(other, x, epochs=4, out=tmp_path / "r", resume=True, **kwargs)
    for name, value in once.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert not torch.equal(start, once.posterior.codebook.vectors)
    assert once.posterior.codebook is once.prior.codebook


@pytest.mark.slow
def test_models_trained_together_move_their_codebooks_as_alone():
    options = {"epochs": 3, "batch_size": 10, "progress": False}
    x = made()[1]

    def fresh():
        posterior = pv.posteriors.VectorQuantized(MLP(D, [8], N * E), N * E, K, E)
        prior = pv.priors.Codes.from_recipe(posterior, [12])
        return pv.VAE(prior, pv.likelihoods.Bernoulli(MLP(N * E, [8], D)), posterior)

    for trained in pv.fit_many(fresh, x, seeds=[0, 1], **options):
        assert trained.error is None
        torch.manual_seed(trained.seed)
        alone = fresh()
        pv.fit(alone, x, seed=trained.seed, compile="no", **options)
        for name, value in alone.state_dict().items():
            got = trained.vae.state_dict()[name]
            torch.testing.assert_close(got, value, rtol=1e-4, atol=1e-5, msg=name)


def test_finite_scalars_are_rounded_and_their_grid_stays():
    torch.manual_seed(0)
    posterior = pv.posteriors.FiniteScalar(MLP(D, [8], 4), 4, num_levels=3, code_dim=2)
    vae = pv.VAE(
        pv.priors.Codes.from_recipe(posterior, [12]),
        pv.likelihoods.Bernoulli(MLP(4, [8], D)),
        posterior,
    )
    x = torch.bernoulli(torch.full((50, D), 0.5))
    for parameter in posterior.parameters():
        parameter.data *= 3
    z, bounded = posterior(x).rsample(), posterior.encoder(x).tanh()
    torch.testing.assert_close(z, bounded.round())
    bias = [posterior.encoder.output_bias]
    ours, hand = (torch.autograd.grad(values.sum(), bias)[0] for values in (z, bounded))
    torch.testing.assert_close(ours, hand)
    before = posterior.codebook.vectors.clone()
    start = float(pv.elbo(vae, x, 5).mean())
    pv.fit(vae, x, epochs=20, batch_size=25, lr=1e-2, progress=False, compile="no")
    assert torch.equal(before, posterior.codebook.vectors)
    assert float(pv.elbo(vae, x, 5).mean()) > start
    assert code_use(vae, x).counts.sum() == 2 * len(x)
    with pytest.raises(ValueError, match="up to 65536 codes; got 9 levels of 6 features"):
        pv.posteriors.FiniteScalar(MLP(D, [], 6), 6, 9, 6)


def test_what_is_refused():
    vae, x = made()
    with pytest.raises(ValueError, match="a multiple of code_dim; got 5 and 2"):
        pv.posteriors.VectorQuantized(MLP(D, [], 5), 5, K, 2)
    with pytest.raises(ValueError, match="two codes or more"):
        Codebook(1, 2)
    with pytest.raises(ValueError, match="codebook for a prior of codes, vector-quantized; got"):
        pv.priors.Codes.from_recipe(pv.posteriors.MeanFieldNormal(MLP(D, [], 4)))
    with pytest.raises(ValueError, match="Use the codes prior"):
        pv.plan(pv.VAE(pv.priors.StandardNormal(N * E), vae.likelihood, vae.posterior), x)
    for estimator in ("iwae", "score-function", "stl"):
        with pytest.raises(ValueError, match="Expected"):
            pv.plan(vae, x, estimator)
    assert "a point among codes" in pv.plan(vae, x).why


# --- Several codes of a vector ------------------------------------------------------------------
def deep(depth, blocks=2, codes=3):
    torch.manual_seed(0)
    size = blocks * depth * E
    posterior = pv.posteriors.VectorQuantized(MLP(D, [8], blocks * E), size, codes, E, depth=depth)
    prior = pv.priors.Codes.from_recipe(posterior, [12])
    vae = pv.VAE(prior, pv.likelihoods.Bernoulli(MLP(size, [8], D)), posterior)
    for parameter in vae.parameters():
        parameter.data += 0.4 * torch.randn_like(parameter)
    return vae, torch.bernoulli(torch.full((50, D), 0.5))


def test_one_code_of_a_vector_is_the_plain_posterior_bit_for_bit():
    vae, x = deep(1)
    q, e = vae.posterior, vae.posterior.encoder(x)
    assert torch.equal(q.encoded(x), e)
    law, plain = Residual(e, q.codebook, 1, q.temperature), q.twin(e)
    codes = q.codebook.codes(e)
    assert torch.equal(law.log_prob(codes), plain.log_prob(codes))
    drawn = []
    for each in (law, plain):
        torch.manual_seed(1)
        drawn.append(each.sample())
    assert torch.equal(*drawn)
    state = vae.state_dict()
    assert {*state} == {*deep(2)[0].state_dict()} == {*made()[0].state_dict()}


def test_each_code_is_next_to_what_is_left():
    vae, x = deep(3)
    q, book = vae.posterior, vae.posterior.codebook
    z, e = q(x).rsample().unflatten(-1, (2, 3, E)), q.encoder(x).unflatten(-1, (2, E))
    left = e.detach()
    for d in range(3):
        nearest = torch.cdist(left, book.vectors).argmin(-1)
        torch.testing.assert_close(z[..., d, :], book.vectors[nearest])
        left = left - book.vectors[nearest]
    slope = torch.randn_like(z)
    (ours,) = torch.autograd.grad((z * slope).sum(), [q.encoder.output_bias])
    (hand,) = torch.autograd.grad((e * slope.sum(-2)).sum(), [q.encoder.output_bias])
    torch.testing.assert_close(ours, hand)


@pytest.mark.usefixtures("float64")
def test_codes_of_what_is_left_sum_to_one_and_are_drawn_as_they_say():
    vae, x = deep(2)
    e, book = vae.posterior.encoder(x[:1])[0].detach(), vae.posterior.codebook
    law = Residual(e, book, 2, torch.tensor(5.0))
    every = torch.cartesian_prod(*[torch.arange(3.0)] * 4)
    p = law.log_prob(every).exp()
    assert abs(float(p.sum()) - 1) < 1e-12
    one = torch.tensor([2.0, 0.0, 1.0, 1.0])
    total = 0.0  # by the formula, code by code
    for block, codes in enumerate(one.long().unflatten(0, (2, 2))):
        left = e.unflatten(-1, (2, E))[block]
        for code in codes:
            total += torch.log_softmax(-(left - book.vectors).square().sum(-1) / 5, -1)[code]
            left = left - book.vectors[code]
    torch.testing.assert_close(law.log_prob(one), total)
    drawn = law.sample((20_000,))
    share, often = (drawn[:, None] == every).all(-1).double(), p > 1e-3
    assert z_scores(share[:, often], p[often]).abs().max() < bound(len(every))
    blind = Residual(e, book, 1, torch.tensor(5.0)).sample((20_000,))[:, [0, 0, 1, 1]]
    share = (blind[:, None] == every).all(-1).double()  # the twin: does not see what is left
    assert (share.mean(0) - p).abs().max() > 0.02


@pytest.mark.usefixtures("float64")
def test_log_p_of_codes_of_what_is_left():
    vae, x = deep(2)
    vae.posterior.temperature.fill_(20.0)
    exact = pv.log_marginal(vae, x).log_marginal
    vae.eval()
    with torch.no_grad():
        soft = weigh(vae.model, vae.guide, x, 4000).log_weights
    gaps = (soft - exact).exp()
    assert z_scores(gaps, torch.ones(len(x))).abs().max() < bound(len(x))
    found = code_use(vae, x)
    assert found.even_rate == pytest.approx(4 * math.log(3))
    assert found.rate.value + found.distortion.value > -float(exact.mean())
    with pytest.raises(ValueError, match=r"a multiple of depth \* code_dim; got 6 and 2 \* 2"):
        pv.posteriors.VectorQuantized(MLP(D, [], 3), 6, K, 2, depth=2)


def test_training_with_two_codes_of_a_vector():
    vae, x = deep(2)
    start = float(pv.elbo(vae, x, 5).mean())
    pv.fit(vae, x, epochs=20, batch_size=25, lr=1e-2, progress=False, compile="no")
    assert float(pv.elbo(vae, x, 5).mean()) > start
    law = vae.eval().posterior(x)
    assert law.mean.shape == law.variance.shape == (50, 8) and law.mean.isfinite().all()


# --- Codes as one of several sites --------------------------------------------------------------
@pytest.mark.usefixtures("float64")
def test_codes_are_a_site_beside_others():
    """Exact by enumeration: log p(x) of codes k and bits y, by the sum over both."""
    torch.manual_seed(0)
    codes = {"kind": "codes", "latent_dim": 4, "hidden_features": [8]}
    quantized = {"kind": "vector-quantized", "num_codes": 3, "code_dim": 2}
    net = {"kind": "mlp", "hidden_features": [8]}
    declared = validate(
        {
            "data": {"kind": "file", "path": "x.csv"},
            "prior": {"k": codes, "y": {"kind": "bernoulli", "latent_dim": 2}},
            "likelihood": {"kind": "bernoulli", "decoder": net},
            "posterior": {"k": {**quantized, "encoder": net}, "y": {"kind": "bernoulli", "given": ["x", "k"], "encoder": net}},
        }
    )  # fmt: skip
    x = torch.bernoulli(torch.full((20, D), 0.5))
    vae = build_vae(declared, (D,), 1.0, pv.data.as_split(x)).double()
    k, y = vae.posterior["k"], vae.prior["y"]
    assert vae.prior["k"].codebook is k.codebook and [*vae.prior] == ["k", "y"] and is_scored(vae)
    k.temperature.fill_(20.0)
    with torch.no_grad():
        parts = (
            vae.prior["k"]().enumerate_support(),
            torch.cartesian_prod(*[torch.arange(2.0)] * 2),
        )
        every = [(a, b) for a in parts[0] for b in parts[1].double()]
        values = tuple(torch.stack(of)[:, None].expand(-1, 20, -1) for of in zip(*every))
        log_p = vae.likelihood(values).log_prob(x)
        log_p = log_p + vae.prior["k"]().log_prob(values[0]) + y().log_prob(values[1])
        soft = weigh(vae.eval().model, vae.guide, x, 4000).log_weights
    gaps = (soft - log_p.logsumexp(0)).exp()
    assert z_scores(gaps, torch.ones(20)).abs().max() < bound(20)
