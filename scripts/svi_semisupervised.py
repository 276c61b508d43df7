"""Classes of digits from 100 labels: M2 of Kingma et al. (2014), trained by Pyro's own SVI.

python scripts/svi_semisupervised.py                # a minute or two on one core
python scripts/svi_semisupervised.py --labels 50
"""

import argparse

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch.nn import Sequential

import pyro_vae as pv

parser = argparse.ArgumentParser(description="Trains M2 by pyro.infer.SVI.")
parser.add_argument("--labels", type=int, default=100)
parser.add_argument("--epochs", type=int, default=40)
args = parser.parse_args()
pyro.set_rng_seed(0)

# Data: x of shape (B, 1, 8, 8), counts 0..16; y one-hot, NaN where it is not known.
data = pv.data.digits(known={"y": "label"}, num_labels=args.labels)
K, L, MLP, At, Join = 10, 4, pv.nn.MLP, pv.nn.At, pv.nn.Join
unit = pv.nn.Divide(data.train.scale)

# p(y) p(z) p(x | y, z), and q(y | x) q(z | x, y). A y that is known is a point in the guide.
decoder = Join(MLP(K + L, [100], (1, 8, 8)), (1, 1))
classifier = Sequential(unit, MLP((1, 8, 8), [100], K))
encoder = Sequential(At(0, unit), Join(MLP(64 + K, [100], 2 * L), (3, 1)))
vae = pv.VAE(
    prior=pv.Sites(y=pv.priors.Categorical(K), z=pv.priors.StandardNormal(L)),
    likelihood=pv.likelihoods.Binomial(decoder, 16, event_dim=3).given("y", "z"),
    posterior=pv.Sites(
        y=pv.posteriors.Categorical(classifier, K),
        z=pv.posteriors.MeanFieldNormal(encoder).given("x", "y"),
    ),
)


def teacher(x, y):  # log q(y | x) of what is known, whose weight is Eq. 9's alpha
    pyro.module("posterior", vae.posterior)
    known = ~y[:, 0].isnan()
    with pyro.plate("data", len(x)), pyro.poutine.mask(mask=known), pyro.poutine.scale(scale=100):
        pyro.sample("y", vae.posterior["y"](x), obs=y.nan_to_num())


adam = pyro.optim.Adam({"lr": 3e-3})
guide = config_enumerate(vae.guide, expand=True)
svi = SVI(vae.model, guide, adam, loss=TraceEnum_ELBO(max_plate_nesting=1))
taught = SVI(teacher, lambda x, y: None, adam, loss=Trace_ELBO())
for epoch in range(1, args.epochs + 1):
    for batch in torch.randperm(len(data.train)).split(100):
        x, known = data.train.batch(batch)
        svi.step(x, **known)
        taught.step(x, **known)
    guess = pv.evaluate.encode_sites(vae, data.test.forgetting(["y"]))["y"].loc
    found = pv.evaluate.classification(guess, data.test.labels)
    print(f"epoch {epoch}  accuracy of y {found.accuracy.value:.3f} +- {found.accuracy.se:.3f}")
