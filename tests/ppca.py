"""Linear Gaussian models with holes, whose conditional distributions are known."""

import torch
from torch import nn
from torch.distributions import MultivariateNormal

import pyro_vae as pv

NAN = float("nan")
HD, HL, HS = 6, 2, 0.4


def linear(weight, const=()):
    """A network without hidden layers: these weights, and constant outputs behind."""
    net = pv.nn.MLP(weight.shape[1], [], len(weight) + len(const))
    with torch.no_grad():
        net.layers[0].weight.zero_()
        net.layers[0].bias.zero_()
        net.layers[0].weight[: len(weight)].copy_(weight)
        net.layers[0].bias[len(weight) :].copy_(torch.as_tensor(const))
    return net


def tril_outputs(covariance):
    """What the encoder of a full covariance has to return for it."""
    tril = torch.linalg.cholesky(covariance)
    rows, columns = torch.tril_indices(*tril.shape[-2:])
    logs = torch.diag_embed(tril.diagonal(dim1=-2, dim2=-1).log())
    return (tril.tril(-1) + logs)[..., rows, columns]


class Conditional(nn.Module):
    """The exact posterior of probabilistic PCA given what is there, for each pattern of holes."""

    def __init__(self, w, b, widen=1.0):
        super().__init__()
        self.w, self.b, self.widen = w, b, widen

    def forward(self, x):
        there = (~x.isnan()).to(x.dtype)
        wo = there[:, :, None] * self.w
        covariance = torch.linalg.inv(torch.eye(HL) + wo.transpose(1, 2) @ wo / HS**2)
        rest = torch.nan_to_num(x - self.b)
        loc = (covariance @ wo.transpose(1, 2) @ rest[..., None])[..., 0] / HS**2
        return torch.cat([loc, tril_outputs(covariance * self.widen**2)], -1)


def ppca(widen=1.0):
    w, b = torch.randn(HD, HL), torch.randn(HD)
    decoder = linear(w)
    decoder.layers[0].bias.data.copy_(b)
    likelihood = pv.likelihoods.MissingAtRandom(pv.likelihoods.Gaussian(decoder, "fixed", HS))
    posterior = pv.posteriors.FullCovarianceNormal(Conditional(w, b, widen), HL)
    vae = pv.VAE(pv.priors.StandardNormal(HL), likelihood, posterior)
    law = MultivariateNormal(b, w @ w.T + HS**2 * torch.eye(HD))
    x = law.sample((8,))
    x[torch.rand_like(x) < 0.5] = NAN
    x[0], x[1] = NAN, torch.nan_to_num(x[1])  # one without anything, one whole
    return vae, x, law


def conditionals(law, x):
    log_p, moments = [], []
    for row in x:
        o, m = ~row.isnan(), row.isnan()
        c = law.covariance_matrix
        there = MultivariateNormal(law.loc[o], c[o][:, o]) if o.any() else None
        log_p.append(there.log_prob(row[o]) if there is not None else torch.zeros(()))
        gain = c[m][:, o] @ torch.linalg.inv(c[o][:, o])
        moments.append((law.loc[m] + gain @ (row[o] - law.loc[o]), c[m][:, m] - gain @ c[o][:, m]))
    return torch.stack(log_p), moments
