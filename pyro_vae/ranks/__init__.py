r"""Processes that compute together, started by torchrun; one process is a group of one.

Whatever ranks decide, they decide from a sum that is the same at each of them, bit for bit.
"""

from .group import Part as Part
from .group import RankFailed as RankFailed
from .group import RankRefused as RankRefused
from .group import Ranks as Ranks
from .group import alone as alone
from .group import here as here
from .group import joined as joined
from .group import launch as launch
from .group import restarted as restarted
from .group import spoken as spoken
from .sums import batch_mean as batch_mean
from .sums import batch_nanmean as batch_nanmean
from .sums import batch_rows as batch_rows
from .sums import batch_sum as batch_sum
from .sums import connect as connect
from .sums import is_silent as is_silent
from .sums import pretend as pretend
from .sums import silently as silently
from .sums import total as total
from .sums import within as within
