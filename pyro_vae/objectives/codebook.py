r"""The running means of a codebook, as a handler around any objective."""

from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..distributions import Quantized
from ..nn import Codebook


class track_codebook(Messenger):
    r"""Moves the codebooks of a guide to the running means of what is encoded, on leaving.

    The model knows nothing of it, as it knows nothing of optimizers. :func:`pyro_vae.fit` enters
    it in each step; around a loop of your own:

    .. code-block:: python

        with pv.objectives.track_codebook():
            svi.step(x)

    References:
        | Neural Discrete Representation Learning (van den Oord et al., 2017), App. A.1
        | https://arxiv.org/abs/1711.00937

    Arguments:
        decay: How much of the past a batch leaves in the running means.
    """

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay

    def __enter__(self) -> Any:
        self.pending: list[tuple[Codebook, dict[str, Tensor]]] = []
        return super().__enter__()

    def _pyro_post_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], Quantized):
            book = msg["fn"].codebook
            self.pending.append((book, book.moved(msg["fn"].encoded, self.decay)))

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if error[0] is None:
            for book, moved in self.pending:
                book.follow(moved)
