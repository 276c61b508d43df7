r"""Values of --given on the command line, as in --given y=3 c=@c.npy."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..runs import RunFolder


def given_values(run: "RunFolder", vae: Any, texts: Sequence[str]) -> dict[str, Any]:
    r"""Reads the values of conditions and latent sites.

    Arguments:
        run: The run.
        vae: Its model.
        texts: Texts such as ``y=3`` (a class by number or name becomes a one-hot row),
            ``c=0.5,1`` (one value for all samples) and ``c=@c.npy`` (a row for each).

    Raises:
        ValueError: There is no such name, or the value has another shape.
    """
    import torch

    from ..distributions import describe_support
    from ..plot.walks import latent_laws

    form, columns_of = run.recorded.form, run.recipe.data.known
    shapes_known = {name: tuple(shape) for name, shape in form.get("known", {}).items()}
    known = {name: shape for name, shape in shapes_known.items() if name in vae.conditions}
    some = {n: torch.zeros(2, *shape) for n, shape in known.items()}
    laws = latent_laws(vae, 2, some)
    labels = {n for n, columns in columns_of.items() if columns == ("label",)}
    blocks = {n for n, law in laws.items() if describe_support(law.support) == "one-hot blocks"}
    classes = blocks | labels
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in (*vae.conditions, *vae.latents):
            names = ", ".join((*vae.conditions, *vae.latents))
            raise ValueError(
                f"Expected --given NAME=VALUE with NAME one of {names}; got {text!r}."
            )
        values[name] = _read(name, value, form.get("classes", ()) if name in labels else ())
    shapes = {n: tuple(law.event_shape) for n, law in laws.items()}
    shapes |= known
    for name, value in values.items():
        shape = shapes.get(name, tuple(value.shape))
        if name in classes and value.dim() == 0 and len(shape) == 1 and shape[0] > 1:
            if not 0 <= float(value) < shape[0] or float(value) != int(value):
                raise ValueError(
                    f"Expected --given {name} from 0 to {shape[0] - 1}; got {float(value):g}."
                )
            values[name] = torch.eye(shape[0])[int(value)][None]
        elif tuple(value.shape) == shape or (value.dim() == 0 and shape == (1,)):
            values[name] = value.reshape(1, *shape)  # one row for all
        elif tuple(value.shape[1:]) != shape:
            raise ValueError(
                f"Expected --given {name} of shape {shape}, or rows of this shape; got "
                f"{tuple(value.shape)}."
            )
    return values


def _read(name: str, value: str, classes: Sequence[str]) -> Any:
    import numpy as np
    import torch

    if value.startswith("@"):
        path = Path(value[1:])
        if path.suffix != ".npy" or not path.is_file():
            raise ValueError(f"Expected --given {name}=@FILE with a .npy file; got {value[1:]}.")
        return torch.from_numpy(np.load(path, allow_pickle=False)).to(torch.get_default_dtype())
    if value in classes:
        return torch.tensor(float([*classes].index(value)))
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        raise ValueError(
            f"Expected --given {name} as numbers, @FILE.npy"
            f"{f' or one of {chr(44).join(classes[:10])}' if classes else ''}; got {value!r}."
        ) from None
    return torch.tensor(numbers[0] if len(numbers) == 1 else numbers)
