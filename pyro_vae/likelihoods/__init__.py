r"""Likelihoods :math:`p(x \mid z)`, one per file."""

from .bernoulli import Bernoulli as Bernoulli
from .beta import Beta as Beta
from .binomial import Binomial as Binomial
from .categorical import Categorical as Categorical
from .censored import Censored as Censored
from .continuous_bernoulli import ContinuousBernoulli as ContinuousBernoulli
from .discretized_logistic import DiscretizedLogistic as DiscretizedLogistic
from .gamma import Gamma as Gamma
from .gaussian import Gaussian as Gaussian
from .hurdle import Hurdle as Hurdle
from .laplace import Laplace as Laplace
from .log_normal import LogNormal as LogNormal
from .made import MADE as MADE
from .missing_at_random import MissingAtRandom as MissingAtRandom
from .negative_binomial import NegativeBinomial as NegativeBinomial
from .ordinal import Ordinal as Ordinal
from .pixel_cnn import PixelCNN as PixelCNN
from .poisson import Poisson as Poisson
from .product import Product as Product
from .self_masking import SelfMasking as SelfMasking
from .student_t import StudentT as StudentT
from .wave_net import WaveNet as WaveNet
from .zero_inflated_negative_binomial import (
    ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial,
)
