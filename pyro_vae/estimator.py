r"""A VAE as an estimator of scikit-learn, for pipelines and searches."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from .build import build_vae, find_device
from .config import Recipe, validate
from .config.families import FAMILIES
from .data import as_split
from .evaluate import log_marginal, verdict
from .programs import dtype_of
from .train.fit import fit
from .views import decode, encode, impute, sample

Factor = str | Mapping[str, Any]
SEEDS = 2**31 - 1


class VAEEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    r"""Creates a VAE that is trained and used as scikit-learn's estimators are.

    The three assumptions are kinds of ``pyro-vae list``, or tables of a kind and its options, as
    in a recipe. Rows are data, columns are the elements of :math:`x`; scale columns before, as in
    ``make_pipeline(StandardScaler(), VAEEstimator())``. NaN is what is not there.

    Arguments:
        prior: :math:`p(z)`.
        likelihood: :math:`p(x \mid z)`.
        posterior: :math:`q(z \mid x)`.
        latent_dim: The number of latent features.
        hidden_features: The size of each hidden layer of encoder and decoder.
        activation: The name of an activation of :mod:`torch.nn`.
        epochs: Passes over the data.
        batch_size: Data per step.
        lr: The learning rate.
        train: Further settings of training, such as ``{"kl_warmup_epochs": 10}``.
        num_samples: Importance samples per datum, for :meth:`score_samples`.
        random_state: Seeds weights, the order of the data and all draws.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Attributes:
        vae_: The trained :class:`pyro_vae.VAE`, for all of this package.
        history_: The metrics of each epoch.
        verdict_: Whether the last log p(x) can be trusted, and why
            (:func:`pyro_vae.evaluate.verdict`).
        n_features_in_: The number of columns.
        feature_names_in_: Their names, if the data had names.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> x = load_iris().data
        >>> vae = VAEEstimator(latent_dim=2, epochs=5, random_state=0).fit(x)
        >>> vae.transform(x).shape
        (150, 2)
    """

    def __init__(
        self,
        prior: Factor = "standard-normal",
        likelihood: Factor = "gaussian",
        posterior: Factor = "mean-field-normal",
        *,
        latent_dim: int = 2,
        hidden_features: Sequence[int] = (64, 64),
        activation: str = "SiLU",
        epochs: int = 200,
        batch_size: int = 100,
        lr: float = 1e-3,
        train: Mapping[str, Any] | None = None,
        num_samples: int = 100,
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.prior, self.likelihood, self.posterior = prior, likelihood, posterior
        self.latent_dim, self.hidden_features = latent_dim, hidden_features
        self.activation, self.epochs, self.batch_size, self.lr = activation, epochs, batch_size, lr
        self.train, self.num_samples = train, num_samples
        self.random_state, self.device = random_state, device

    def fit(self, X: Any, y: Any = None) -> Self:
        r"""Trains a VAE on the rows of `X`; `y` is not used."""
        x = self._checked(X, reset=True)
        split = as_split(x)
        recipe = self._recipe(holes=bool(np.isnan(x).any()))
        device = find_device(self.device)
        seed = int(check_random_state(self.random_state).randint(SEEDS))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            vae = build_vae(recipe, split.x_shape, split.scale, split).to(device)
        settings: dict[str, Any] = {"epochs": self.epochs, "batch_size": self.batch_size}
        settings |= {"lr": self.lr, "seed": seed, "progress": False, **(self.train or {})}
        history = fit(vae, split, **settings)
        self.vae_, self.history_, self.seed_ = vae, history, seed
        self._n_features_out = self.latent_dim
        return self

    def transform(self, X: Any) -> np.ndarray:
        r"""Returns the mean of :math:`q(z \mid x)` for each row, of shape `(N, latent_dim)`."""
        x = self._known(X)
        return _array(encode(self.vae_, as_split(x), seed=self.seed_).loc, x.dtype)

    def inverse_transform(self, X: Any) -> np.ndarray:
        r"""Returns the mean of :math:`p(x \mid z)` for latent features `X`, a row each."""
        check_is_fitted(self)
        z = check_array(X, dtype=[np.float64, np.float32])
        return _array(decode(self.vae_, torch.tensor(z, dtype=dtype_of(self.vae_))), z.dtype)

    def score_samples(self, X: Any) -> np.ndarray:
        r"""Returns the estimate of :math:`\log p(x)` of each row, in nats; see ``verdict_``."""
        x = self._known(X)
        found = log_marginal(self.vae_, as_split(x), self.num_samples, seed=self.seed_)
        self.verdict_ = verdict(found)
        return _array(found.log_marginal, x.dtype)

    def score(self, X: Any, y: Any = None) -> float:
        r"""Returns the mean of :math:`\log p(x)` over the rows, in nats per datum."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1) -> np.ndarray:
        r"""Returns draws of :math:`x` from the model, of shape `(n_samples, n_features)`."""
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or isinstance(n_samples, bool) or n_samples < 1:
            raise ValueError(
                f"Expected n_samples as a whole number of at least 1; got {n_samples!r}."
            )
        return _array(sample(self.vae_, n_samples, seed=self.seed_), np.float64)

    def impute(self, X: Any, **options: Any) -> np.ndarray:
        r"""Returns `X` with each NaN replaced by its mean given the rest of the row.

        Arguments:
            X: The data, a row each.
            options: Those of :func:`pyro_vae.impute`, which also has draws and intervals.
        """
        x = self._known(X)
        mean = impute(self.vae_, as_split(x), seed=self.seed_, **options).mean
        return np.where(np.isnan(x), _array(mean, x.dtype), x)

    def _checked(self, X: Any, reset: bool) -> np.ndarray:
        kinds = [np.float64, np.float32]
        return validate_data(self, X, dtype=kinds, ensure_all_finite="allow-nan", reset=reset)

    def _known(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        x = self._checked(X, reset=False)
        rows = np.isnan(x).any(1).nonzero()[0]
        if len(rows) and not self.vae_.likelihood.missing:
            raise ValueError(
                f"Expected X without NaN, as the data of fit had none; got NaN in row {rows[0]}. "
                'Fit on data with holes, or with likelihood={"kind": ..., "missing": "at-random"}.'
            )
        return x

    def _recipe(self, holes: bool) -> Recipe:
        r"""The recipe that the arguments are."""
        network = {"hidden_features": self.hidden_features, "activation": self.activation}
        network |= {"kind": "mlp", "init": "kaiming"}
        parts = {role: _table(role, getattr(self, role)) for role in FAMILIES}
        parts["likelihood"] = _likelihood(parts["likelihood"], network, holes)
        if parts["posterior"]["kind"] == "per-datum":
            raise ValueError(
                "Expected a posterior with an encoder, for rows that training does not have; got "
                "per-datum. Train such a VAE by pyro_vae.fit."
            )
        if _takes("posterior", parts["posterior"]["kind"], "encoder"):
            parts["posterior"] = {"encoder": network, **parts["posterior"]}
        train = {k: v for k, v in (self.train or {}).items() if k == "precision"}
        data = {"kind": "file", "path": "X"}
        return validate(
            {"latent_dim": self.latent_dim, "data": data, "train": train, **parts}, Recipe
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _table(role: str, factor: Factor) -> dict[str, Any]:
    table = {"kind": factor} if isinstance(factor, str) else factor
    if not isinstance(table, Mapping) or not isinstance(table.get("kind"), str):
        raise ValueError(
            f"Expected {role} as a kind of pyro-vae list, or a table of a kind and its options; "
            f"got {factor!r:.60}. Train other VAEs by pyro_vae.fit."
        )
    return dict(table)


def _takes(role: str, kind: str, option: str) -> bool:
    return option in getattr(FAMILIES[role].get(kind), "model_fields", ())


def _likelihood(table: dict[str, Any], network: dict[str, Any], holes: bool) -> dict[str, Any]:
    r"""The likelihood, or each one of a product, with its decoder."""
    if table["kind"] == "product":
        parts = [dict(part) for part in table.get("parts", ())]
        for part in parts:
            part["likelihood"] = {"decoder": network, **part.get("likelihood", {})}
        return {**table, "parts": parts}
    if not _takes("likelihood", table["kind"], "decoder"):
        return table
    return {"decoder": network, **({"missing": "at-random"} if holes else {}), **table}


def _array(values: Tensor, dtype: Any) -> np.ndarray:
    return values.detach().cpu().numpy().astype(dtype)
