"""What is done in the place of every operator of torch that is called."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any


def dispatching(call: Callable[[Any, Any, dict[str, Any]], Any]) -> AbstractContextManager[Any]:
    """Have `call` answer for every operator, given it, its arguments and those with names.

    Holds for this thread alone.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    class Dispatching(TorchDispatchMode):  # type: ignore[no-untyped-call]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """Keep torch from importing its compiler at the first operator: a second or two."""
            return False

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            return call(func, args, dict(kwargs or {}))

    mode: AbstractContextManager[Any] = Dispatching()  # type: ignore[no-untyped-call]
    return mode
