"""What the documents promise is there: links, settings, choices."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from kbexp.app.configuration import GROUPS, choices
from kbexp.app.explain import settings
from kbexp.config import EvaluatorConfig, RunConfig

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted(REPOSITORY.glob("docs/**/*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
OVERRIDE = re.compile(r"(?<![\w.+/-])([a-z_]+(?:\.[a-z_]+)+)=")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = [match.group(1) for match in LINK.finditer(page.read_text())]
    local = [target for target in targets if "://" not in target]
    assert not [target for target in local if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = set(settings(RunConfig)) | {"hydra.run.dir", "hydra.sweep.dir"}
    free = ("task.sizes.", "llm.extra.")
    named = {match.group(1) for match in OVERRIDE.finditer(page.read_text())}
    assert not {name for name in named - known if not name.startswith(free)}


def test_the_readme_names_every_choice_but_the_tasks() -> None:
    text = (REPOSITORY / "README.md").read_text()
    for group in (*GROUPS, "experiment"):
        if group != "task":
            names = choices(REPOSITORY / "conf", group)
            assert not [name for name in names if f"`{name}`" not in text]


def test_the_page_on_judging_has_the_numbers_of_the_three_evaluators() -> None:
    text = (REPOSITORY / "docs" / "evaluation.md").read_text()
    for name in choices(REPOSITORY / "conf", "evaluator"):
        settings_of = yaml.safe_load((REPOSITORY / f"conf/evaluator/{name}.yaml").read_text())
        del settings_of["defaults"]
        own = EvaluatorConfig(**settings_of)
        assert (
            f"| `{name}` | {own.correctness_trials} | {own.min_pairs} to {own.max_pairs} | "
            f"{own.timing_s:g} | {100 * own.target_width:g} % |"
        ) in text
    assert (EvaluatorConfig().block_ms, EvaluatorConfig().max_calls) == (10, 25)
