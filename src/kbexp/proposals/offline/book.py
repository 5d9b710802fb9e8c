"""The pages that are open for one prompt: variants that may be used, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from kbexp.proposals.offline import generic
from kbexp.proposals.offline.playbook.entry import Entry, Slip, Tunable, Values, Variant
from kbexp.proposals.offline.playbook.mark import Mark, read_mark
from kbexp.proposals.offline.playbook.render import render
from kbexp.proposals.offline.prompt_reader import Prompt
from kbexp.proposals.offline.recognise import recognise


@dataclass(frozen=True, slots=True)
class Book:
    """Variants for one task on one device, in the languages allowed; `name` stands in marks.

    `write` returns a kernel's text from a variant, its values and a slip or None.
    """

    name: str
    variants: tuple[Variant, ...]
    write: Callable[[Variant, Values, Slip | None], str]

    def page(self, mark: Mark | None) -> Variant | None:
        """Return the variant that a mark names, None where it is not in this book."""
        if mark is None or mark.task != self.name:
            return None
        return next((v for v in self.variants if v.name == mark.variant), None)

    def read(self, source: str) -> tuple[Variant, Values] | None:
        """Return the variant and values of a kernel of this book, None for any other kernel.

        A mark can say anything: values out of range are put back into it.
        """
        mark = read_mark(source)
        variant = self.page(mark)
        if mark is None or variant is None:
            return None
        return variant, {
            t.name: min(t.values, key=lambda v, t=t: abs(v - mark.values.get(t.name, v)))  # type: ignore[misc]
            for t in variant.tunables
        }


def open_book(prompt: Prompt) -> tuple[Book | None, str]:
    """Return the book for a prompt and a sentence about it; None where nothing can be written."""
    entry = recognise(prompt.task_name, prompt.task_source)
    variants = _usable(entry, prompt) if entry else ()
    if entry and variants:
        by_nvcc = bool(prompt.languages) and "nvrtc" not in prompt.languages
        language = "cuda_inline" if by_nvcc else "nvrtc"

        def write(variant: Variant, values: Values, slip: Slip | None) -> str:
            return render(entry.task, variant, values, slip, language)

        about = f"The task computes what the playbook's entry {entry.task} computes."
        return Book(entry.task, variants, write), about
    rewrite = generic.rewrite_of(prompt.task_source, prompt.device_kind)
    if rewrite is None:
        return None, "The task's source holds no Model that can be read."
    about = (
        f"The playbook's entry {entry.task} has nothing in the languages that are allowed; this is "
        "a rewrite of the reference."
        if entry
        else "The playbook has no entry for this task; this is a rewrite of the reference."
    )
    variant = _limited(rewrite.variant, prompt)
    return Book(generic.NAME, (variant,), lambda _v, values, _s: rewrite.text(values)), about


def _usable(entry: Entry, prompt: Prompt) -> tuple[Variant, ...]:
    return tuple(
        _limited(variant, prompt)
        for variant in entry.variants
        if variant.device in ("any", prompt.device_kind)
        and (not prompt.languages or set(variant.languages) & set(prompt.languages))
    )


def _limited(variant: Variant, prompt: Prompt) -> Variant:
    """Return the variant with no more threads than the device has cores, where that is known."""
    cores = prompt.cores
    if cores is None:
        return variant

    def limited(tunable: Tunable) -> Tunable:
        if tunable.name != "THREADS":
            return tunable
        return replace(tunable, values=tuple(v for v in tunable.values if v <= max(1, cores)))

    return replace(variant, tunables=tuple(limited(tunable) for tunable in variant.tunables))
