r"""Parameters, optimizers and random generators, to and from tensors and JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def load_parameters(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    r"""Loads a checkpoint's tensors into a module with exactly the same parameters and buffers.

    Arguments:
        module: The module.
        tensors: Its saved ``state_dict()``.
        source: The checkpoint, for the message.

    Raises:
        ValueError: Names, shapes or dtypes differ. The module is unchanged.
    """
    own = {name: t for name, t in module.state_dict().items() if isinstance(t, Tensor)}
    differences = [f"{name} is missing" for name in own if name not in tensors]
    differences += [f"{name} is unexpected" for name in tensors if name not in own]
    for name in own.keys() & tensors.keys():
        ours, theirs = ((tuple(t.shape), t.dtype) for t in (own[name], tensors[name]))
        if ours != theirs:
            differences.append(f"{name} is {theirs[0]} {theirs[1]} instead of {ours[0]} {ours[1]}")
    if differences:
        raise ValueError(
            f"Expected the parameters of this model in {source}; got others: "
            f"{'; '.join(sorted(differences))}. Build the model from the recipe of that run."
        )
    module.load_state_dict(dict(tensors))


def pack_optimizer(
    optimizer: Optimizer, names: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    r"""Splits an optimizer's state into tensors and JSON.

    Arguments:
        optimizer: Any optimizer of :mod:`torch.optim`.
        names: The names of its parameters, in its order.

    Returns:
        The tensors by ``"parameter/key"``, and the rest: hyperparameters and other numbers.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if len(parameters) != len(names) or len(set(names)) != len(names):
        raise ValueError(
            f"Expected {len(parameters)} different names, one for each parameter; "
            f"got {len(names)}. Pass the names in the order of the optimizer's parameters."
        )
    saved = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    state = {
        names[i]: _encode(values, names[i], parameters[i].device, tensors)
        for i, values in saved["state"].items()
    }
    groups = [
        _encode(group, f"/{i}", parameters[0].device, tensors)
        for i, group in enumerate(saved["param_groups"])
    ]
    numbers = {"class": type(optimizer).__name__, "names": list(names)}
    return tensors, {**numbers, "state": state, "groups": groups}


def unpack_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    r"""Restores the state of an optimizer from :func:`pack_optimizer`, bit for bit.

    Raises:
        ValueError: The optimizer has another class, or other groups of parameters.
    """
    kinds = [numbers["class"], type(optimizer).__name__]
    counts = [
        [len(_decode(group["dict"]["params"], "cpu", tensors)) for group in numbers["groups"]],
        [len(group["params"]) for group in optimizer.param_groups],
    ]
    if kinds[0] != kinds[1] or counts[0] != counts[1]:
        raise ValueError(
            f"Expected the optimizer of the checkpoint, {kinds[0]} over {counts[0]} parameters; "
            f"got {kinds[1]} over {counts[1]}. Resume with the settings of that run."
        )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    groups = [_decode(group, parameters[0].device, tensors) for group in numbers["groups"]]
    optimizer.load_state_dict({"state": {}, "param_groups": groups})
    # state is set directly: load_state_dict would cast it to the parameter's dtype and device
    for name, parameter in zip(numbers["names"], parameters):
        if name in numbers["state"]:
            state = _decode(numbers["state"][name], parameter.device, tensors)
            optimizer.state[parameter] = state


def _encode(value: Any, key: str, device: torch.device, tensors: dict[str, Tensor]) -> Any:
    r"""Returns `value` as JSON, with its tensors moved to `tensors`."""
    if isinstance(value, Tensor):
        tensors[key] = value
        return {"tensor": key, "elsewhere": value.device != device}  # step counts are on the CPU
    if isinstance(value, dict):
        return {"dict": {k: _encode(v, f"{key}/{k}", device, tensors) for k, v in value.items()}}
    if isinstance(value, (list, tuple)):
        items = [_encode(v, f"{key}/{i}", device, tensors) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        f"Expected tensors and numbers in the state of an optimizer; got {key} of type "
        f"{type(value).__name__}. Use an optimizer of torch.optim."
    )


def _decode(value: Any, device: torch.device | str, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(v, device, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]].to("cpu" if value["elsewhere"] else device, copy=True)
    if "tuple" in value:
        return tuple(_decode(v, device, tensors) for v in value["tuple"])
    return {k: _decode(v, device, tensors) for k, v in value["dict"].items()}


def get_rng_state(device: torch.device) -> dict[str, Tensor]:
    r"""Returns the state of torch's generators: the CPU's, and that of `device` if it is a GPU."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_rng_state(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    r"""Restores what :func:`get_rng_state` returned, for the generators that `device` has."""
    torch.set_rng_state(tensors["cpu"].cpu())
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"].cpu(), device)


def environment(device: torch.device) -> dict[str, Any]:
    r"""What must be the same for a bit-for-bit continuation."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": name}
