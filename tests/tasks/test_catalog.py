import ast
import re
from importlib.resources import files
from pathlib import Path

import pytest

from kbexp.config import SizeClass
from kbexp.errors import KbexpError
from kbexp.tasks.catalog import (
    FAMILIES,
    NAMES,
    about,
    bundled,
    bundled_sizes,
    bundled_source,
    output_scales,
)
from kbexp.tasks.source import check_format, constants

ROOT = Path(__file__).parents[2]


def values(source: str) -> dict[str, object]:
    return {name: ast.literal_eval(places[0].value) for name, places in constants(source).items()}


def test_every_file_is_in_the_catalogue_and_every_entry_has_a_file():
    folder = files("kbexp.tasks").joinpath("bundled")
    found = {
        entry.name.removesuffix(".py") for entry in folder.iterdir() if entry.name.endswith(".py")
    }
    assert found - {"__init__"} == set(NAMES)
    assert len(NAMES) == 16


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_file_is_a_task_at_its_cpu_sizes(name):
    check_format(bundled_source(name), name)
    table = bundled_sizes(name)
    assert set(table) == {"cpu", "gpu"}
    assert set(table["cpu"]) == set(table["gpu"])
    task = bundled(name)
    assert (task.name, task.family) == (name, FAMILIES[name])
    assert "SIZES" not in task.source
    for constant, value in values(task.source).items():
        assert table["cpu"].get(constant, value) == value
    assert about(name).endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_written_into_the_source(name):
    table = bundled_sizes(name)
    task = bundled(name, SizeClass.gpu)
    assert values(task.source).items() >= table["gpu"].items()
    assert task.id != bundled(name).id
    back = bundled(name, SizeClass.gpu, table["cpu"])
    assert back == bundled(name)


def test_an_override_wins_over_the_size_class():
    assert values(bundled("softmax", SizeClass.gpu, {"rows": 5}).source) == {
        "rows": 5,
        "cols": bundled_sizes("softmax")["gpu"]["cols"],
        "spread": 4.0,
    }


def test_an_unknown_override_names_the_constants():
    with pytest.raises(KbexpError, match=r"^The task softmax has no constant 'colz'.*rows, cols"):
        bundled("softmax", overrides={"colz": 3})


@pytest.mark.parametrize("name", ["sofmax", "", "../catalog", "__init__"])
def test_an_unknown_task_names_those_there_are(name):
    with pytest.raises(KbexpError) as caught:
        bundled(name)
    assert all(known in str(caught.value) for known in NAMES)
    assert ("did you mean softmax?" in str(caught.value)) == (name == "sofmax")


def test_every_task_has_a_measured_scale():
    scales = output_scales()
    assert set(scales) == set(NAMES)
    for scale in scales.values():
        assert 0.01 <= scale.rms <= 100
        assert scale.rms < scale.abs_max


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_lists_the_constants_and_their_values(name):
    text = (ROOT / "conf" / "task" / f"{name}.yaml").read_text(encoding="utf-8")
    table = bundled_sizes(name)
    listed = dict(re.findall(r"^  (\w+): null  # (.+)$", text, flags=re.MULTILINE))
    for constant, value in values(bundled(name).source).items():
        if constant in table["cpu"]:
            value = f"cpu {table['cpu'][constant]}, gpu {table['gpu'][constant]}"
        assert listed.pop(constant) == str(value)
    assert not listed


def test_the_documentation_lists_every_task_with_its_sizes():
    text = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0].strip("`") in NAMES:
            rows[cells[0].strip("`")] = cells[1:]
    assert set(rows) == set(NAMES)
    for name, (family, what, *sizes) in rows.items():
        assert family == FAMILIES[name]
        assert what == about(name)
        for cell, size in zip(sizes, ("cpu", "gpu"), strict=True):
            wanted = bundled_sizes(name)[size]
            assert cell == ", ".join(f"{key} {value}" for key, value in wanted.items())
