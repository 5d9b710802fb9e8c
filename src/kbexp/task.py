"""A task: a reference `Model` with `get_inputs` and `get_init_inputs`, its sizes written in."""

from __future__ import annotations

from dataclasses import dataclass, field

from kbexp.kernel import text_id


@dataclass(frozen=True, slots=True)
class Task:
    """One problem to solve, in KernelBench's format.

    `source` is complete: every size stands in it, so that the same source is the same problem
    on every machine. `id` is the hash of the source, `name` what people call it
    (`softmax`, `kernelbench/1/23_Softmax`), `family` groups tasks of one kind (`matmul`, `norm`).
    """

    name: str
    source: str
    family: str = ""
    id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", text_id(self.source))
