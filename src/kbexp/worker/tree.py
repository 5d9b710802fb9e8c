"""Arguments and results of a task's functions as plain JSON plus a list of tensors."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Unsupported(ValueError):
    """A value of a type that does not cross between processes."""


def flatten(value: Any, tensors: list[torch.Tensor]) -> Any:
    """Return `value` as JSON, its tensors moved to the end of `tensors`.

    Numbers, texts, None, lists, tuples and dicts with text keys are kept as they are.
    Raises `Unsupported` for anything else.
    """
    import torch

    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return {"tensor": len(tensors) - 1}
    if value is None or isinstance(value, (bool, int, str)):
        return {"value": value}
    if isinstance(value, float):
        return {"value": value} if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [flatten(item, tensors) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: flatten(item, tensors) for key, item in value.items()}}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    raise Unsupported(f"a task's arguments cannot hold a {type(value).__name__}")


def unflatten(record: Any, tensors: list[torch.Tensor]) -> Any:
    """Return what `flatten` was given, with these tensors in place of the old ones."""
    import torch

    ((kind, body),) = record.items()
    if kind == "tensor":
        return tensors[body]
    if kind == "value":
        return body
    if kind == "float":
        return float(body)
    if kind == "dtype":
        return getattr(torch, body)
    if kind == "dict":
        return {key: unflatten(item, tensors) for key, item in body.items()}
    items = [unflatten(item, tensors) for item in body]
    return tuple(items) if kind == "tuple" else items


def output_tensors(value: Any) -> list[torch.Tensor]:
    """Return the tensors of a result: a tensor, or lists, tuples and dicts of them and of None.

    Raises `Unsupported` for anything but dense plain tensors: an object that only looks like one
    can compute, or lie, when it is read.
    """
    import torch

    if type(value) is torch.Tensor or type(value) is torch.nn.Parameter:
        if value.layout is not torch.strided or value.is_nested or value.is_quantized:
            found = str(value.layout).removeprefix("torch.").lstrip("_")
            kind = "nested" if value.is_nested else "quantized" if value.is_quantized else found
            raise Unsupported(
                f"forward returned a {kind} tensor; outputs must be dense plain tensors"
            )
        return [value]
    if isinstance(value, tuple):  # also those with names; as a tuple, whatever its class says
        return _tensors_of(tuple.__iter__(value))
    if type(value) is list:
        return _tensors_of(value)
    if type(value) in (dict, OrderedDict):
        return _tensors_of(value.values())
    found = "None" if value is None else f"a {type(value).__name__}"
    raise Unsupported(
        f"forward returned {found}; outputs must be dense plain tensors, or lists, tuples and "
        "dicts of them"
    )


def _tensors_of(items: Iterable[Any]) -> list[torch.Tensor]:
    # None stands for what was not asked for, such as the weights of an attention.
    return [tensor for item in items if item is not None for tensor in output_tensors(item)]
