"""What was published, with which settings: the targets of `scripts/reproduce.py`.

Settings are those of a recipe, by dotted key, on top of the recipe or function `base`. Published
figures have a tolerance. `differs` says what is not as in the paper.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from imputation import breast_cancer
from networks import belief_network, gated_vae, miwae

import pyro_vae as pv

Goals = Mapping[str, tuple[float, float]]  # published value and tolerance, by figure


@dataclass(frozen=True)
class Schedule:
    """How long to train: settings, variants, seeds, importance samples, hours of one core."""

    hours: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    variants: tuple[str, ...] = ()  # by default all
    seeds: int = 1
    samples: int = 5000
    differs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variant:
    settings: Mapping[str, Any]
    goals: Goals


@dataclass(frozen=True)
class Contrast:
    """How much larger a figure is under `b` than under `a`, maybe `another-target/variant`."""

    figure: str
    a: str
    b: str
    goal: tuple[float, float] | None = None


def load(kind, **options):
    """The data set of this kind."""
    return pv.data.load(kind, quiet=True, **options)


@dataclass(frozen=True)
class Target:
    """A result to reproduce; `own_data`: whether each seed is also one of the data."""

    title: str
    citation: str
    base: str | Mapping[str, Any] | Callable
    settings: Mapping[str, Any]
    variants: Mapping[str, Variant]
    judge: str
    full: Schedule
    short: Schedule
    differs: tuple[str, ...] = ()
    contrasts: tuple[Contrast, ...] = ()
    load: Callable = load
    own_data: bool = False
    medium: Schedule | None = None


BURDA = (
    "Importance Weighted Autoencoders (Burda et al., 2016), Table 1, "
    "https://arxiv.org/abs/1509.00519"
)
BURDA_DIFFERS = (
    "Adam is that of torch, with beta1 0.9 and epsilon 1e-4 on means over the batch; the authors' "
    "code has beta1 0.99, second moments that start at one, and sums",
    "the data are shuffled in every epoch; the code never shuffles",
)
SHORT_IWAE = Schedule(
    0.5,
    {"train.epochs": 40, "train.batch_size": 100, "train.schedule": "cosine"},
    ("k=1", "k=5"),
    3,
    500,
    (
        "40 epochs in batches of 100, a half cosine; instead of 3280 in batches of 20, in stages",
        "500 importance samples instead of 5000, which are some 0.4 nats lower",
    ),
)
MEDIUM_IWAE = replace(
    SHORT_IWAE,
    hours=0.6,
    settings={**SHORT_IWAE.settings, "train.epochs": 202},
    seeds=1,
    samples=1000,
    differs=(
        "202 epochs in batches of 100, 120,000 steps, a half cosine; instead of 3280 in batches "
        "of 20, in stages",
        "1000 importance samples instead of 5000, which are some 0.3 nats lower",
    ),
)
FULL_IWAE = {
    "data.valid": 400,
    "train.epochs": 3280,
    "train.batch_size": 20,
    "train.schedule": "stages",
}


def iwae(k: int, value: float, tolerance: float, **units: int) -> Variant:
    goals = {"log p(x)": (value, tolerance)}
    goals |= {f"active units of {site}": (count, 4) for site, count in units.items()}
    return Variant({"train.num_particles": k}, goals)


def less(a: str, b: str, value: float, tolerance: float, figure: str = "log p(x)") -> Contrast:
    return Contrast(figure, a, b, (value, tolerance))


ONE_LAYER = Target(
    "IWAE with one stochastic layer, MNIST with bits drawn at every visit",
    BURDA,
    "mnist-mean-field",
    {
        "data.valid": 400,
        "train.estimator": "iwae",
        "train.optimizer_options": {"eps": 1e-4},
        "train.cooldown_epochs": 0,
    },
    {
        "k=1": iwae(1, -86.76, 0.5, z=19),
        "k=5": iwae(5, -85.54, 0.5, z=22),
        "k=50": iwae(50, -84.78, 0.5, z=25),
    },
    "evidence",
    Schedule(60, FULL_IWAE),
    SHORT_IWAE,
    BURDA_DIFFERS,
    (less("k=1", "k=5", 1.22, 0.5), less("k=1", "k=50", 1.98, 0.5)),
    medium=MEDIUM_IWAE,
)
TWO_LAYERS = Target(
    "IWAE with two stochastic layers, MNIST with bits drawn at every visit",
    BURDA,
    "mnist-two-layers",
    {"data.valid": 400},
    {
        "k=1": iwae(1, -85.33, 0.6, z1=16, z2=5),
        "k=5": iwae(5, -83.89, 0.6, z1=21, z2=5),
        "k=50": iwae(50, -82.90, 0.6, z1=26, z2=7),
    },
    "evidence",
    Schedule(80, FULL_IWAE),
    replace(SHORT_IWAE, hours=0.8),
    BURDA_DIFFERS,
    (
        less("k=1", "k=5", 1.44, 0.5),
        less("k=1", "k=50", 2.43, 0.5),
        less("iwae-one-layer/k=1", "k=1", 1.43, 0.5),
        less("iwae-one-layer/k=5", "k=5", 1.65, 0.5),
        less("iwae-one-layer/k=50", "k=50", 1.88, 0.5),
    ),
    medium=replace(MEDIUM_IWAE, hours=1.0),
)


def labels(count: int, way: str, value: float, tolerance: float) -> Variant:
    settings: dict[str, Any] = {"data.num_labels": count, "train.supervision": 0}
    if way == "sampled":
        settings |= {"train.estimator": "score-function", "train.baseline": "none"}
    if way == "supervised":
        settings["train.supervision"] = 46
    return Variant(settings, {"accuracy of y": (value, tolerance)})


M2 = Target(
    "M2 on MNIST with few labels: y sampled, y summed out, and with a classifier's loss",
    "Pyro's tutorial The Semi-Supervised VAE, Table 1, https://pyro.ai/examples/ss-vae.html; "
    "Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014), "
    "https://arxiv.org/abs/1406.5298",
    "mnist-m2",
    {
        "data.binarize": "no",
        "train.skip_checks": True,
        "train.lr": 4.2e-4,
        "train.batch_size": 200,
        "train.epochs": 50,
    },
    {
        "100-sampled": labels(100, "sampled", 20.07, 7.1),
        "100-enumerated": labels(100, "enumerated", 22.54, 6.9),
        "100-supervised": labels(100, "supervised", 93.19, 1.2),
        "3000-sampled": labels(3000, "sampled", 19.82, 10.4),
        "3000-enumerated": labels(3000, "enumerated", 89.32, 3.2),
        "3000-supervised": labels(3000, "supervised", 95.82, 0.7),
    },
    "classes",
    Schedule(16, seeds=5),
    Schedule(
        0.15,
        {"train.epochs": 5},
        ("3000-enumerated", "3000-supervised"),
        differs=("5 epochs instead of 50",),
    ),
    (
        "batches mix data with and without labels, and each has one step of Adam; in the tutorial "
        "batches are of one sort, and those with labels have a second step for the classifier",
        "the last epoch is judged, not the one with the best accuracy on validation data",
        "the KL term of z is in closed form; weights start as Glorot and Bengio's, not at 0.001",
    ),
    (
        less("100-enumerated", "100-supervised", 70.65, 7.0, "accuracy of y"),
        less("3000-sampled", "3000-enumerated", 69.50, 10.9, "accuracy of y"),
        less("3000-enumerated", "3000-supervised", 6.50, 3.3, "accuracy of y"),
    ),
    own_data=True,
)

LINEAR = {"kind": "mlp", "hidden_features": []}
PPCA = Target(
    "A linear VAE against its exact optimum, probabilistic PCA, on Frey faces",
    "Don't Blame the ELBO! (Lucas et al., 2019), https://arxiv.org/abs/1911.02469; the optimum is "
    "in closed form: Probabilistic Principal Component Analysis (Tipping & Bishop, 1999), Eq. 7",
    {
        "name": "freyfaces-linear",
        "latent_dim": 10,
        "data": {"kind": "freyfaces", "range": "unit"},
        "likelihood": {"kind": "gaussian", "decoder": LINEAR},
        "posterior": {"kind": "mean-field-normal", "encoder": LINEAR},
        "train": {
            "batch_size": 157,
            "lr": 3e-3,
            "schedule": "cosine",
            "estimator": "stl",
            "precision": "float64",
        },
    },
    {},
    {"q=10": Variant({}, {})},
    "optimum",
    Schedule(0.05, {"train.epochs": 1000}),
    Schedule(0.01, {"train.epochs": 100}, differs=("100 epochs instead of 1000",)),
    (
        "the ELBO is estimated by samples, with gradients that vanish at the optimum (STL), in "
        "batches of 157 by Adam; the paper's is in closed form, and its schedule is not this one",
    ),
)

RELU = {"kind": "mlp", "hidden_features": [256, 256], "activation": "ReLU", "init": "kaiming"}
ALTOSAAR = Target(
    "Mean-field against inverse autoregressive flow, MNIST with fixed bits",
    "Altosaar's variational-autoencoder in PyTorch, its table of results, "
    "https://github.com/altosaar/variational-autoencoder",
    {
        "name": "static-mnist-relu",
        "latent_dim": 128,
        "data": {"kind": "static-mnist"},
        "likelihood": {"kind": "bernoulli", "decoder": RELU, "output_bias": "zero"},
        "posterior": {"kind": "mean-field-normal", "encoder": RELU},
        "train": {
            "batch_size": 128,
            "optimizer": "RMSprop",
            "optimizer_options": {"centered": True},
            "kl": "sampled",
        },
    },
    {},
    {
        "mean-field": Variant(
            {"train.epochs": 166}, {"ELBO": (-103.31, 0.8), "log p(x)": (-97.10, 0.8)}
        ),
        "iaf": Variant(
            {
                "posterior": {
                    "kind": "iaf",
                    "num_transforms": 2,
                    "hidden_features": [256],
                    "context_features": 128,
                    "encoder": RELU,
                },
                "train.epochs": 384,
            },
            {"ELBO": (-101.64, 0.8), "log p(x)": (-95.33, 0.8)},
        ),
    },
    "evidence",
    Schedule(1.2, samples=128),
    Schedule(
        0.15, {"train.epochs": 20}, samples=128, differs=("20 epochs instead of 166 and 384",)
    ),
    (
        "sigma is exp of an output, not its softplus; RMSprop is on means over a batch, not sums",
        "the networks of the flow are this package's, of SiLU units and their initial weights",
    ),
    (less("mean-field", "iaf", 1.77, 0.8), less("mean-field", "iaf", 1.67, 0.8, "ELBO")),
)

VAMP = Target(
    "N(0, I) against the VampPrior with 500 pseudo-inputs, MNIST with bits drawn at every visit",
    "VAE with a VampPrior (Tomczak & Welling, 2018), https://arxiv.org/abs/1705.07120; figures of "
    "Exemplar VAE (Norouzi et al., 2020), https://arxiv.org/abs/2004.04795",
    gated_vae,
    {
        "data": {"kind": "mnist", "binarize": "dynamic"},
        "train": {
            "batch_size": 100,
            "lr": 5e-4,
            "kl": "sampled",
            "epochs": 2000,
            "kl_warmup_epochs": 100,
            "patience": 50,
        },
    },
    {
        "standard-normal": Variant({"prior": "standard-normal"}, {"log p(x)": (-84.45, 0.5)}),
        "vamp": Variant({"prior": "vamp"}, {"log p(x)": (-82.43, 0.5)}),
    },
    "evidence",
    Schedule(7),
    Schedule(
        0.2,
        {"train.epochs": 20, "train.kl_warmup_epochs": 5, "train.schedule": "cosine"},
        samples=500,
        differs=(
            "20 epochs, 5 of them of warm-up, and a half cosine, instead of up to 2000 with 100",
            "500 importance samples instead of 5000",
        ),
    ),
    (
        "Adam, not Adam on gradients of norm one; log sigma and pseudo-inputs are not clamped",
        "early stopping counts during the warm-up, too",
    ),
    (less("standard-normal", "vamp", 2.02, 0.4),),
)

FILLED = {"MIWAE": (0.280, 0.04), "mean of the column": (1.00, 0.05)}
MIWAE = Target(
    "Single imputation of breast cancer data, half of the cells missing",
    "MIWAE (Mattei & Frellsen, 2019), Table 1, https://arxiv.org/abs/1812.02633",
    miwae,
    {
        "data": {"kind": "breast cancer"},
        "train": {"batch_size": 64, "estimator": "iwae", "num_particles": 20, "epochs": 2002},
    },
    {"500-epochs": Variant({"train.epochs": 500}, FILLED), "k=20": Variant({}, FILLED)},
    "holes",
    Schedule(0.8, seeds=5, samples=1000),
    Schedule(0.05, {"train.epochs": 200}, ("k=20",), 2, 1000, ("200 epochs, not 2002",)),
    (
        "q(z | x) is a Normal, and sees which cells are there; the paper's is a Student's t that "
        "sees zeros in the holes",
        "the settings are those of the authors' notebook; 500 epochs were fixed before training",
        "1000 importance samples instead of 10,000",
    ),
    load=breast_cancer,
    own_data=True,
)

TRAINING_BOUND = {"ELBO, training data": (-112.0, 1.5)}
ONE_SAMPLE = {"train.num_particles": 1}
BELIEF_NETWORK = Target(
    "A belief network of 200 bits by the score function, MNIST with fixed bits",
    "Neural Variational Inference and Learning in Belief Networks (Mnih & Gregor, 2014), "
    "https://arxiv.org/abs/1402.0030; training bounds of Backpropagation through the Void "
    "(Grathwohl et al., 2018), Table 1, https://arxiv.org/abs/1711.00123",
    belief_network,
    {
        "data": {"kind": "static-mnist"},
        "train": {
            "batch_size": 24,
            "estimator": "score-function",
            "optimizer_options": {"betas": (0.9, 0.99999)},
            "epochs": 960,
        },
    },
    {
        "neural": Variant({"train.baseline": "neural", **ONE_SAMPLE}, TRAINING_BOUND),
        "two-samples": Variant({"train.num_particles": 2}, TRAINING_BOUND),
        "none": Variant({"train.baseline": "none", **ONE_SAMPLE}, {}),
    },
    "bounds",
    Schedule(4, samples=100),
    Schedule(
        0.1,
        {"train.epochs": 24, "train.schedule": "cosine"},
        samples=10,
        differs=("24 epochs, 50,000 steps, and a half cosine, instead of 2,000,000 steps",),
    ),
    (
        "the baseline of `neural` is a network of 100 units and a running mean, without NVIL's "
        "division by a running standard deviation; `two-samples` has each sample's mean of the "
        "other, and a running mean",
        "the learning rate is 0.001, the second of the five of the paper, and the bound that of "
        "the last epoch, not the highest",
    ),
    (
        Contrast("ELBO, training data", "neural", "none"),
        Contrast("ELBO, training data", "neural", "two-samples"),
    ),
    medium=Schedule(
        0.5,
        {"train.epochs": 240, "train.schedule": "cosine"},
        ("two-samples",),
        samples=100,
        differs=("240 epochs, 500,000 steps, and a half cosine, instead of 2,000,000 steps",),
    ),
)

CHORALES = {"ELBO per step": (-6.87, 0.23)}
JSB = Target(
    "A deep Markov model of Bach's chorales, 88 bits a step",
    "Structured Inference Networks for Nonlinear State Space Models (Krishnan et al., 2017), "
    "Table 1, https://arxiv.org/abs/1609.09869; Pyro's tutorial on deep Markov models",
    "jsb-dmm",
    {},
    {
        "tutorial": Variant(
            {
                "data.steps": 160,
                "latent_dim": 100,
                "prior.hidden_features": 200,
                "likelihood.decoder.hidden_features": [100, 100],
                "posterior.hidden_features": 600,
                "train.epochs": 5000,
                "train.batch_size": 20,
                "train.lr": 3e-4,
                "train.kl_warmup_epochs": 1000,
                "train.cooldown_epochs": 0,
            },
            CHORALES,
        ),
        "recipe": Variant({}, CHORALES),
    },
    "steps",
    Schedule(20, variants=("tutorial",), samples=100),
    Schedule(
        0.2,
        variants=("recipe",),
        samples=100,
        differs=(
            "z of 32 features instead of 100, networks of 100 units instead of 100 to 600",
            "350 epochs of chunks of 64 steps, instead of 5000 of whole sequences; the rate is "
            "0.003 and falls to zero in the last 220, instead of 0.0003",
        ),
    ),
    (
        "a transition moves z part of the way to a bounded proposal, so that it cannot explode",
        "AdamW with the usual betas and a decay of 0.1, chosen from 0 and 0.1 by validation data, "
        "in the place of the decay and the dropout of Pyro's tutorial",
    ),
)

TARGETS: dict[str, Target] = {
    "iwae-one-layer": ONE_LAYER,
    "iwae-two-layers": TWO_LAYERS,
    "m2-labels": M2,
    "ppca": PPCA,
    "altosaar": ALTOSAAR,
    "vamp": VAMP,
    "miwae": MIWAE,
    "belief-network": BELIEF_NETWORK,
    "jsb": JSB,
}
