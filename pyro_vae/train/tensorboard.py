r"""Metrics of a training as TensorBoard shows them."""

import os
from collections.abc import Mapping
from numbers import Real
from typing import Any

from .history import Callback, History


class TensorBoard(Callback):
    r"""Creates a callback that writes every metric of every epoch for TensorBoard.

    Needs the extra ``tensorboard``. ``tensorboard --logdir FOLDER`` shows it, while it trains.

    Arguments:
        folder: The folder of event files.

    Raises:
        ValueError: The extra is not installed.

    Example:
        >>> import pyro_vae as pv
        >>> pv.fit(vae, x, callbacks=[TensorBoard("runs/board")])  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError(
                "Expected the package tensorboard to write for it; it is not installed. Run "
                "pip install 'pyro_vae[tensorboard]'."
            ) from None
        self.make: Any = lambda: SummaryWriter(os.fspath(folder))
        self.writer: Any = None

    def on_start(self, run: Any) -> None:
        self.writer = self.make()

    def on_row(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if isinstance(value, Real) and name not in ("step", "epoch"):
                self.writer.add_scalar(name, float(value), row["epoch"])

    def on_end(self, history: History) -> None:
        self.writer.close()
