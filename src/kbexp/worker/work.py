"""How much work a task is: bytes that have to move and operations that have to be done.

One call of the reference is watched operator by operator. What an operator reads and no operator
before it has made comes from memory: inputs, parameters, buffers, tables. Each such tensor counts
once, however often it is read; what is made and used up within the call may never leave the
caches and is not counted. Outputs count once.

Operations are counted by PyTorch's own formulas (`torch.utils.flop_counter`): products of
matrices, convolutions, attention; two a multiplication with its addition. There are none for
element by element operators, reductions, sorting; their names are returned instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kbexp.worker.dispatch import dispatching
from kbexp.worker.tree import output_tensors, unflatten

if TYPE_CHECKING:
    import torch

    from kbexp.worker.reference import Problem, Reference

GATHERS = frozenset(
    {"embedding", "gather", "index", "index_select", "take", "_embedding_bag",
     "_embedding_bag_forward_only"}
)  # fmt: skip
"""Operators that read of their first argument only the places that another one names."""

MOVES = frozenset(
    {"arange", "cat", "clone", "copy", "copy_", "_to_copy", "empty", "empty_like", "empty_strided",
     "fill_", "full", "full_like", "lift_fresh", "new_empty", "new_zeros", "ones", "ones_like",
     "scalar_tensor", "stack", "zero_", "zeros", "zeros_like", "constant_pad_nd", *GATHERS}
)  # fmt: skip
"""Operators that compute nothing, or next to nothing."""

SAME_FORMULA = {
    "_scaled_dot_product_flash_attention_for_cpu": "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_fused_attention_overrideable": "_scaled_dot_product_flash_attention",
}
"""Operators that have no formula of their own, and one that does the same."""

MOST_NAMES = 12
CHUNK = 2**26
"""Elements looked at at a time for zeros, which bounds the memory that takes."""


@dataclass(frozen=True, slots=True)
class Work:
    """One call of the reference.

    `nonzero_bytes` counts only elements that are not zero, on the inputs that were tried: who
    knows a structure that shows as zeros (diagonal, triangular, sparse, masked) need not move
    more. `flops` are counted operations, `types` the element types they were done in, `uncounted`
    the names of the first operators that there is no formula for.
    """

    bytes: int
    nonzero_bytes: int
    flops: int
    types: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()

    def metrics(self) -> dict[str, float]:
        """Return the figures of a verdict."""
        return {
            "bytes": float(self.bytes),
            "nonzero_bytes": float(self.nonzero_bytes),
            "flops": float(self.flops),
        }

    def environment(self) -> dict[str, str]:
        """Return what a verdict says in words."""
        found = {
            "flops_types": ",".join(self.types),
            "flops_not_counted": ", ".join(self.uncounted),
        }
        return {name: text for name, text in found.items() if text}


def reference_work(reference: Reference, problem: Problem) -> Work | None:
    """Return the work of a task's reference, None where it cannot be watched.

    A module of its own is called on copies: calls may change both, and those of `problem` are
    still needed.
    """
    import torch

    try:
        model = reference.model(problem.init, problem.weights)
        inputs = [tensor.clone() for tensor in problem.trials[0].inputs]
        with torch.no_grad():
            return work_of(lambda: model(*unflatten(problem.tree, inputs)))
    except Exception:  # A task may hold anything; without these figures it is judged all the same.
        return None


def work_of(call: Callable[[], Any]) -> Work:
    """Call `call` and return the work that it was."""
    traffic = _Traffic()
    with dispatching(traffic.answer):
        outputs = output_tensors(call())
    moved, nonzero = traffic.reads.total()
    written: dict[int, int] = {}
    for output in outputs:
        where = output.untyped_storage()
        # An output that is an input, or a part of one, need not be written; one that repeats
        # itself (an expanded view) is no larger than what it repeats.
        if where.data_ptr() not in traffic.reads.made:
            continue
        dense = output.numel() * output.element_size()
        before = written.get(where.data_ptr(), 0)
        written[where.data_ptr()] = min(where.nbytes(), before + dense)
        nonzero += min(where.nbytes(), _nonzero(output) * output.element_size())
    moved += sum(written.values())
    return Work(
        bytes=moved,
        nonzero_bytes=min(nonzero, moved),
        flops=traffic.flops,
        types=tuple(sorted(traffic.types)),
        uncounted=tuple(traffic.uncounted)[:MOST_NAMES],
    )


class _Reads:
    """What was read of memory that no operator had filled before, and what operators filled."""

    def __init__(self) -> None:
        self.made: set[int] = set()
        self._outside: dict[int, tuple[torch.Tensor, int]] = {}  # a tensor, bytes read of it

    def read(self, tensor: torch.Tensor, size: int | None) -> None:
        """Note that `size` bytes of a tensor were read; None is all of it."""
        place = _place(tensor)
        if place and place not in self.made:
            known, before = self._outside.get(place, (tensor, 0))
            size = tensor.numel() * tensor.element_size() if size is None else size
            self._outside[place] = known, before + size

    def make(self, tensors: list[torch.Tensor]) -> None:
        """Note that an operator filled tensors, unless they were read before."""
        self.made |= {_place(tensor) for tensor in tensors} - set(self._outside)

    def total(self) -> tuple[int, int]:
        """Return the bytes read from outside, and those of them that are not zero."""
        import torch

        moved = nonzero = 0
        for tensor, size in self._outside.values():
            storage = tensor.untyped_storage()
            size = min(size, storage.nbytes())
            whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(storage)
            moved += size
            nonzero += min(size, _nonzero(whole) * tensor.element_size())
        return moved, nonzero


class _Traffic:
    """What operators have read and made, what they come to, and which have no formula."""

    def __init__(self) -> None:
        self.reads = _Reads()
        self.flops = 0
        self.types: set[str] = set()
        self.uncounted: dict[str, None] = {}

    def answer(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Call an operator and take in what that was."""
        answer = func(*args, **kwargs)
        given, made = _tensors_of((args, kwargs)), _tensors_of(answer)
        places = {_place(tensor) for tensor in given}
        changes = bool(func._schema.is_mutable)
        if made and not changes and all(_place(tensor) in places for tensor in made):
            return answer  # A view: nothing is read yet.
        name = str(func._overloadpacket).rpartition(".")[2]
        formula = _formula(func._overloadpacket, name)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=answer)
            self.types.add(str(given[0].dtype).removeprefix("torch."))
        elif name not in MOVES:
            self.uncounted[name] = None
        for number, tensor in enumerate(given):
            gathered = number == 0 and name in GATHERS
            self.reads.read(tensor, _gathered_bytes(name, given, made) if gathered else None)
        self.reads.make(made)
        return answer


def _tensors_of(tree: Any) -> list[torch.Tensor]:
    import torch
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _formula(packet: Any, name: str) -> Callable[..., int] | None:
    """Return the formula that counts an operator's operations, None where there is none."""
    import torch
    from torch.utils.flop_counter import flop_registry

    same = SAME_FORMULA.get(name)
    found: Callable[..., int] | None = flop_registry.get(
        getattr(torch.ops.aten, same) if same else packet
    )
    return found


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _gathered_bytes(name: str, given: list[torch.Tensor], made: list[torch.Tensor]) -> int:
    """Return the bytes that a gathering operator reads of its first argument, at most."""
    source = given[0]
    if name.startswith("_embedding_bag"):
        return given[1].numel() * source.shape[-1] * source.element_size()
    return made[0].numel() * source.element_size()


def _nonzero(tensor: torch.Tensor) -> int:
    """Return how many elements are not zero."""
    import torch

    flat = tensor.reshape(-1)
    parts = (flat[start : start + CHUNK] for start in range(0, flat.numel(), CHUNK))
    return sum(int(torch.count_nonzero(part).item()) for part in parts)
