"""Every variant for the CPU computes its task, and every slip in one makes it wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from kbexp.proposals.offline.playbook import ENTRIES
from kbexp.proposals.offline.playbook.entry import Values, Variant
from kbexp.proposals.offline.playbook.render import render, template

ON_CPU = [
    pytest.param(task, variant, id=f"{task}-{variant.name}")
    for task, entry in ENTRIES.items()
    for variant in entry.variants
    if variant.device != "cuda"
]

pytestmark = [
    pytest.mark.usefixtures("extensions"),
    pytest.mark.filterwarnings("ignore:Sparse"),
]


def drawn(variant: Variant, seed: int) -> Values:
    rng = random.Random(f"{variant.name}/{seed}")
    values = {t.name: rng.choice(t.values) for t in variant.tunables}
    # More threads than a machine has cores only wait for each other.
    return values | ({"THREADS": 2} if "THREADS" in values else {})


def test_every_bundled_task_has_three_variants_for_the_cpu_and_two_for_a_gpu():
    from kbexp.tasks.catalog import NAMES

    assert set(ENTRIES) == set(NAMES)
    for entry in ENTRIES.values():
        kinds = [(variant.device, variant.languages) for variant in entry.variants]
        assert sum(device == "cpu" for device, _ in kinds) >= 3, entry.task
        assert any("nvrtc" in languages for _, languages in kinds), entry.task
        assert any("triton" in languages for _, languages in kinds), entry.task
        assert any(languages == ("torch",) for _, languages in kinds), entry.task
        assert len({variant.name for variant in entry.variants}) == len(kinds)
        assert all(variant.slips for variant in entry.variants), entry.task


@pytest.mark.parametrize(("task", "variant"), ON_CPU)
def test_variant_is_correct(task: str, variant: Variant, bench):
    # Native source is built once here, for time's sake; torch operators need no build.
    for seed in range(1 if variant.native else 3):
        values = drawn(variant, seed)
        assert bench(task).correct(render(task, variant, values)), values


@pytest.mark.slow
@pytest.mark.parametrize(("task", "variant"), ON_CPU)
def test_slip_is_wrong(task: str, variant: Variant, bench):
    for slip in variant.slips:
        source = render(task, variant, drawn(variant, 9), slip)
        # What is wrong is wrong at any level of optimisation, and this one builds faster.
        assert not bench(task).correct(source.replace('"-O3"', '"-O0"')), slip.name


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_slips_stand_in_their_template_once(entry):
    for variant in entry.variants:
        text = template(variant.module) + (template(variant.source) if variant.native else "")
        for slip in variant.slips:
            assert text.count(slip.old) == 1, (variant.name, slip.name)
            assert slip.old != slip.new


def test_extremes_of_the_tunables_are_correct(bench):
    """The smallest and the largest values of one variant that has many."""
    variant = ENTRIES["attention"].variant("register_block")
    assert variant is not None
    for pick in (min, max):
        values = {t.name: pick(t.values) for t in variant.tunables} | {"THREADS": 1}
        assert bench("attention").correct(render("attention", variant, values)), values


def test_a_reused_buffer_follows_the_shape(bench):
    import torch

    variant = ENTRIES["cumsum"].variant("serial")
    assert variant is not None
    values = {t.name: t.values[0] for t in variant.tunables} | {"REUSE": 1}
    kernel = bench("cumsum").load(render("cumsum", variant, values))
    for shape in ((4, 7), (5, 3), (4, 7)):
        x = torch.randn(shape)
        assert torch.allclose(kernel(x), x.cumsum(-1), atol=1e-5)


def test_templates_ship_with_the_package():
    from importlib.resources import files

    folder = files("kbexp.proposals.offline.playbook") / "templates"
    named = {v.module for e in ENTRIES.values() for v in e.variants}
    named |= {v.source for e in ENTRIES.values() for v in e.variants if v.native}
    there = {
        f"{path.parent.name}/{path.name}"
        for path in Path(str(folder)).glob("*/*")
        if path.is_file()
    }
    assert named <= there
    unused = {path for path in there - named if not path.startswith("common/")}
    assert not unused
