from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ...config import suggestion
from ...runs.records import to_json
from ...writing import write_text
from ..output import announce, at_least_one, check_out
from ..shared import Command, DataDir


@dataclass(kw_only=True)
class Gallery(Command):
    r"""Trains the VAE and its relatives small on the same images, and draws them side by side.

    One HTML page with their graphs, samples, and what each can and cannot do, written after each
    of them. Minutes on digits.
    """

    data: Positional[str] = "digits"
    """A data set of images, which are used as bits."""
    only: tuple[str, ...] = ()
    """Some of the models by name, as in VAE RBM "sparse autoencoder"."""
    epochs: int = 100
    """Epochs of training; GAN and diffusion take three times as many."""
    seed: int = 0
    """Seeds everything."""
    seeds: int = 1
    """How many seeds each is trained with, from --seed on: figures are means over them."""
    out: Path = Path("gallery.html")
    """The .html file."""
    json: bool = False
    """Print one JSON object with all figures."""
    data_dir: DataDir = None

    def __call__(self) -> None:
        from ...relatives import MEMBERS, Floor, gallery_page, portraits

        check_out(self.out, (".html", ".htm"))
        at_least_one(self.epochs, "--epochs")
        at_least_one(self.seeds, "--seeds")
        for name in self.only:
            if name not in MEMBERS:
                hint = suggestion(name, MEMBERS)
                raise ValueError(f"Expected --only of {', '.join(MEMBERS)}; got {name!r}{hint}.")
        floor = Floor.of(self.data, self.data_dir, self.seed)
        if len(floor.rows.x_shape) != 3:
            raise ValueError(f"Expected a data set of images, such as digits; got {self.data}.")
        last = self.seed + self.seeds - 1
        note = (
            f"Each was trained for {self.epochs} epochs, GAN and diffusion for three times as "
            f"many, with seed {self.seed}"
        )
        note += (
            f" to {last}: figures are means over these, errors of seeds and data together, CPU "
            "seconds those of one; samples are of the first."
            if self.seeds > 1
            else "."
        )
        found, names = [], self.only or (*MEMBERS,)
        settings = {"epochs": self.epochs, "seed": self.seed, "num_seeds": self.seeds}
        for member in portraits(floor, names, **settings, data_dir=self.data_dir):
            found.append(member)
            write_text(self.out, gallery_page(floor, found, note))
            announce(f"{len(found)}/{len(names)} {member.name}: {member.seconds:.0f} CPU s")
        if self.json:
            print(to_json({"data": self.data, "members": [m.record() for m in found]}))
            return
        print(f"Page: {self.out}")
