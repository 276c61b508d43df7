r"""Training by stochastic variational inference."""

from .curve import rate_distortion_curve as rate_distortion_curve
from .fit import fit as fit
from .history import Callback as Callback
from .history import History as History
from .many import Trained as Trained
from .many import fit_many as fit_many
from .optimizer import make_optimizer as make_optimizer
from .refit import Refitted as Refitted
from .refit import refit_prior as refit_prior
from .run import NumericsError as NumericsError
from .schedule import cyclical as cyclical
from .schedule import geometric_decay as geometric_decay
from .schedule import linear_warmup as linear_warmup
from .schedule import stages as stages
from .tensorboard import TensorBoard as TensorBoard
from .tune import Trial as Trial
from .tune import tune as tune
