from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...config import RelativeRecipe
from .. import relatives
from ..output import check_out, write_arrays
from ..shared import OnAnyRows, keys_of


@dataclass(kw_only=True)
class Encode(OnAnyRows):
    r"""Writes mean and standard deviation of q(z | x) for each datum, its row and label."""

    takes_relatives: ClassVar[bool] = True

    out: Path
    """A .npz or .csv file, with loc, scale, rows (numbers in the file from 0) and labels."""

    def __call__(self) -> None:
        from ...evaluate import encode_sites

        check_out(self.out, (".npz", ".csv"))
        run = self.opened()
        if isinstance(run.recipe, RelativeRecipe):
            relatives.encode(self, run)
            return
        vae = run.model(self.device)
        split, *_ = self.rows(run, vae)
        arrays: dict[str, Any] = {}
        sites = encode_sites(vae, split)
        for site, moments in sites.items():
            prefix = f"{site}_" if len(sites) > 1 else ""
            arrays |= {f"{prefix}{k}": v.cpu().numpy() for k, v in moments._asdict().items()}
        write_arrays(self.out, {**arrays, **keys_of(split)})
