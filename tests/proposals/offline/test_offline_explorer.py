"""What is tried next follows from the seed and from the feedback that is shown."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from kbexp.candidate import Candidate, ProposalRequest
from kbexp.kernel import Kernel
from kbexp.proposals.answer import extract_kernel
from kbexp.proposals.device import DeviceFacts
from kbexp.proposals.feedback import feedback
from kbexp.proposals.offline.book import Book, open_book
from kbexp.proposals.offline.explorer import Choice, explore
from kbexp.proposals.offline.playbook import ENTRIES
from kbexp.proposals.offline.playbook.entry import Fault
from kbexp.proposals.offline.playbook.mark import Mark, read_mark
from kbexp.proposals.offline.prompt_reader import Prompt, read_text
from kbexp.proposals.offline.reply import answer
from kbexp.proposals.offline.shown import ShownKernel
from kbexp.proposals.offline.slips import EDITS, applicable
from kbexp.proposals.prompt import context, prompt, section
from kbexp.tasks.catalog import NAMES, bundled
from kbexp.verdict import Interval, Phase, Status, Verdict

CPU = DeviceFacts(name="a CPU", kind="cpu", cores=4)
GPU = DeviceFacts(name="a GPU", kind="cuda", compute_capability="9.0")


def verdict(status: Status, speedup: float | None = None) -> Verdict:
    phase = Phase.TIMING if speedup else Phase.CORRECTNESS
    times = {}
    if speedup:
        times["speedup"] = Interval(speedup, speedup * 0.99, speedup * 1.01)
    return Verdict("k", "t", status, phase, "cpu", "none", **times)  # type: ignore[arg-type]


def judged(source: str, status: Status, speedup: float | None = None) -> Candidate:
    return Candidate(Kernel(source), 0, None, [verdict(status, speedup)])


def messages(parent: Candidate, *others: Candidate, task="softmax", facts=CPU, languages=None):
    """Write a question as the project's own proposer does."""
    languages = languages or (("torch", "c", "cpp") if facts.kind == "cpu" else ("nvrtc", "triton"))
    shared = context(bundled(task), facts, languages)
    asked = prompt(shared, ProposalRequest(number=0, parents=(parent, *others), seed=0))
    user = [asked.parent, section("feedback", asked.feedback), *asked.others]
    return [
        {"role": "system", "content": asked.context},
        {"role": "user", "content": "\n\n".join(user)},
    ]


def seed_kernel(task: str = "softmax") -> Candidate:
    return judged(
        bundled(task).source.replace("class Model(", "class ModelNew("), Status.CORRECT, 1
    )


def book_and_prompt(parent: ShownKernel | None, *others: ShownKernel) -> tuple[Book, Prompt]:
    shown = read_text(messages(seed_kernel())[0]["content"])
    made = Prompt(
        task_name="softmax",
        task_source=shown.task_source,
        device_facts=shown.device_facts,
        languages=shown.languages,
        parent=parent,
        others=others,
    )
    book, _ = open_book(made)
    assert book is not None
    return book, made


def choices(count: int, parent: ShownKernel | None, *others: ShownKernel) -> list[Choice]:
    book, made = book_and_prompt(parent, *others)
    return [explore(book, made, random.Random(seed)) for seed in range(count)]


def kernel_of(variant: str, **values: int) -> str:
    book, _ = book_and_prompt(None)
    page = next(v for v in book.variants if v.name == variant)
    drawn = {t.name: t.values[0] for t in page.tunables} | values
    return book.write(page, drawn, None)


def shown(source: str, status: Status, speedup: float | None = None) -> ShownKernel:
    return ShownKernel("id", source, feedback(verdict(status, speedup)))


def test_same_seed_and_messages_give_the_same_answer_and_others_do_not():
    asked = messages(seed_kernel())
    assert answer(asked, 3) == answer(asked, 3)
    assert len({answer(asked, seed) for seed in range(20)}) > 10
    changed = [*asked, {"role": "user", "content": "Please."}]
    assert any(answer(asked, seed) != answer(changed, seed) for seed in range(5))


@pytest.mark.parametrize("facts", [CPU, GPU], ids=["cpu", "cuda"])
@pytest.mark.parametrize("task", NAMES)
def test_every_answer_holds_a_kernel_of_the_task(task, facts):
    for seed in range(8):
        reply = answer(messages(seed_kernel(task), task=task, facts=facts), seed)
        source = extract_kernel(reply).source
        assert source is not None
        mark = read_mark(source)
        assert mark is not None
        assert mark.task == task
        assert "no language model" in reply.split("```")[0]


@pytest.mark.parametrize("task", NAMES)
def test_other_sizes_are_the_same_entry(task):
    from kbexp.proposals.offline.recognise import recognise

    constant = "rows" if "\nrows = " in bundled(task).source else None
    source = bundled(task, overrides={constant: 17} if constant else None).source
    entry = recognise("my_own", source)
    assert entry is not None
    assert entry.task == task or {entry.task, task} == {"matmul_square", "matmul_tall_skinny"}
    named = recognise(task, source)
    assert named is ENTRIES[task]


def test_only_allowed_languages_are_used():
    for language, sign in (("torch", None), ("c", "load_inline"), ("triton", "@triton.jit")):
        facts = GPU if language == "triton" else CPU
        for seed in range(10):
            asked = messages(seed_kernel(), facts=facts, languages=(language,))
            reply = answer(asked, seed)
            assert ("load_inline" in reply) == (sign == "load_inline")
            assert ("@triton.jit" in reply) == (sign == "@triton.jit")
    reply = answer(messages(seed_kernel(), facts=GPU, languages=("cuda_inline",)), 0)
    assert "cuda_sources" in reply


def test_mistakes_come_at_the_rates_that_are_promised():
    drawn = Counter(choice.fault for choice in choices(600, None))
    for fault in Fault:
        assert 0.10 < drawn[fault] / 600 < 0.18, fault
    assert drawn[None] / 600 > 0.5


def test_a_repair_takes_the_mistake_back():
    source = kernel_of("online")
    broken = shown(source.replace("sum += block_sum;", "sum += block_sum"), Status.COMPILE_ERROR)
    made = choices(100, broken)
    repaired = [choice for choice in made if choice.source.strip() == source.strip()]
    assert len(repaired) > 50
    assert any("repairs" in choice.why for choice in repaired)


def test_a_clean_kernel_that_fails_is_left_for_another_variant():
    for status in (Status.COMPILE_ERROR, Status.INCORRECT, Status.RUNTIME_ERROR, Status.TIMEOUT):
        made = choices(50, shown(kernel_of("online"), status))
        assert all(choice.variant.name != "online" for choice in made), status


def test_a_fast_parent_is_changed_a_little_and_a_slow_one_left_more_often():
    fast = choices(200, shown(kernel_of("online"), Status.CORRECT, 2.0))
    slow = choices(200, shown(kernel_of("online"), Status.CORRECT, 0.4))
    stayed = [sum(choice.variant.name == "online" for choice in made) for made in (fast, slow)]
    assert stayed[0] > 120
    assert stayed[1] < 100
    parent = read_mark(kernel_of("online"))
    assert parent is not None
    for choice in fast:
        if choice.variant.name == "online":
            changed = [name for name in parent.values if choice.values[name] != parent.values[name]]
            assert 1 <= len(changed) <= 2


def test_variants_seen_to_fail_are_avoided():
    failures = [
        shown(kernel_of(name, REUSE=reuse), Status.INCORRECT)
        for name in ("online", "buffered")
        for reuse in (0, 1)
    ]
    stranger = shown("class ModelNew: pass", Status.CORRECT, 1.0)
    without = Counter(choice.variant.name for choice in choices(300, stranger))
    made = Counter(choice.variant.name for choice in choices(300, stranger, *failures))
    for name in ("online", "buffered"):
        assert made[name] < 0.4 * without[name]


def test_what_was_shown_is_not_proposed_again():
    source = kernel_of("library_torch")
    for choice in choices(60, shown(source, Status.CORRECT, 1.5)):
        assert choice.source.strip() != source.strip()


def test_threads_stay_within_the_cores_named():
    for choice in choices(60, None):
        assert choice.values.get("THREADS", 1) <= 4


def test_a_mark_with_other_values_is_brought_back_into_range():
    book, _ = book_and_prompt(None)
    page = book.read("# playbook: softmax/online BLOCK=99999 THREADS=-3 NONSENSE=1\n")
    assert page is not None
    assert page[1]["BLOCK"] == 1024
    assert page[1]["THREADS"] == 1
    assert "NONSENSE" not in page[1]
    assert book.read("# playbook: layernorm/unrolled LANES=4\n") is None


def test_a_mark_is_read_as_it_was_written():
    from kbexp.proposals.offline.playbook.mark import write_mark

    mark = Mark("softmax", "online", {"THREADS": 2, "BLOCK": 64})
    assert read_mark("import torch\n" + write_mark(mark) + "\n") == mark


@pytest.mark.usefixtures("extensions")
@pytest.mark.parametrize("edit", EDITS[Fault.COMPILE], ids=lambda edit: edit.__name__)
def test_what_should_not_compile_does_not(edit, bench):
    for name in ("three_pass", "inplace_torch"):
        source = kernel_of(name)
        flawed = edit(source)
        if flawed == source:
            continue
        with pytest.raises(Exception):  # noqa: B017
            bench("softmax").load(flawed)


def test_every_kind_of_mistake_fits_every_variant():
    for entry in ENTRIES.values():
        for variant in entry.variants:
            from kbexp.proposals.offline.playbook.render import render

            source = render(entry.task, variant, {t.name: t.values[0] for t in variant.tunables})
            assert len(applicable(Fault.COMPILE, source)) >= 2, variant.name
            assert len(applicable(Fault.SLOW, source)) >= 1, variant.name


@pytest.mark.usefixtures("extensions")
def test_slow_kernels_are_correct_and_do_needless_work(bench):
    for name in ("three_pass", "library_torch"):
        source = kernel_of(name)
        for edit in applicable(Fault.SLOW, source):
            flawed = edit(source)
            assert bench("softmax").correct(flawed), edit.__name__
    source = kernel_of("three_pass")
    names = {edit.__name__: edit(source) for edit in applicable(Fault.SLOW, source)}
    assert "omp parallel" not in names["single_thread"]
    assert '"-O0"' in names["unoptimised"]
    assert "x = x.clone()" in names["needless_copies"]
    assert "x.double().float()" in names["double_precision"]
