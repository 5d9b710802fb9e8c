import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbexp.config import SizeClass
from kbexp.errors import KbexpError
from kbexp.tasks.source import (
    MAX_CHARACTERS,
    check_format,
    constants,
    describe,
    parse,
    sized,
    take_size_table,
    with_sizes,
)

SOURCE = '''\
"""Größe: é 🙂"""
é = 1; rows = 64  # rows, not 64 columns
cols: int = 128
eps = 1e-5
shift = -3
shape = (rows, cols, 1)
height = width = 256  # both
depth, wide = 4, 512
widths = [1024] * 4
label = "rows = 64"
total = rows * cols

def get_inputs():
    rows = 64
    return [rows]
'''


def run(source: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(source, names)
    return names


def test_a_size_is_replaced_and_nothing_else_is_touched():
    expected = SOURCE.replace("; rows = 64 ", "; rows = 7 ").replace("= 1e-5", "= 0.5")
    assert with_sizes(SOURCE, {"rows": 7, "eps": 0.5}, "The task") == expected


def test_constants_that_follow_from_others_follow():
    names = run(with_sizes(SOURCE, {"rows": 2, "cols": 3}, "The task"))
    assert names["shape"] == (2, 3, 1)
    assert names["total"] == 6


def test_one_of_two_names_that_share_a_value_can_be_set_alone():
    names = run(with_sizes(SOURCE, {"height": 8, "wide": 9}, "The task"))
    assert (names["height"], names["width"]) == (8, 256)
    assert (names["depth"], names["wide"]) == (4, 9)


def test_both_of_two_names_that_share_a_value_can_be_set():
    names = run(with_sizes(SOURCE, {"height": 8, "width": 16}, "The task"))
    assert (names["height"], names["width"]) == (8, 16)


def test_values_take_the_type_of_what_they_replace():
    names = run(with_sizes(SOURCE, {"eps": 1, "shape": [1, 2], "widths": (5,)}, "The task"))
    assert isinstance(names["eps"], float)
    assert names["shape"] == (1, 2)
    assert names["widths"] == (5,)


def test_none_leaves_a_constant_as_it_is():
    assert with_sizes(SOURCE, {"rows": None}, "The task") == SOURCE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rows", "7"),
        ("rows", 7.0),
        ("rows", True),
        ("rows", [7]),
        ("eps", float("nan")),
        ("label", 3),
        ("shape", 3),
        ("rows", object()),
        ("rows", {"a": 1}),
    ],
)
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(KbexpError, match=f"constant '{name}' of the task") as caught:
        with_sizes(SOURCE, {name: value}, "The task")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["colz", "get_inputs", "", "rows = 1; import os"])
def test_an_override_that_names_no_constant_names_those_there_are(name):
    with pytest.raises(KbexpError) as caught:
        with_sizes(SOURCE, {name: None}, "The task softmax")
    message = str(caught.value)
    assert message.startswith(f"The task softmax has no constant '{name}'")
    assert "rows, cols, eps, shift" in message


def test_a_text_cannot_smuggle_code_in():
    evil = "x'; import os; os.abort() #"
    assert run(with_sizes(SOURCE, {"label": evil}, "The task"))["label"] == evil


def test_what_is_computed_by_calls_or_changed_later_is_no_constant():
    source = "import os\na = os.getpid()\nb = 1\nb += 1\nc = 2\n"
    source += "for d in [1]: pass\n(e, f), g = (1, 2), 3\n"
    assert set(constants(source)) == {"c"}


def test_every_assignment_of_a_constant_is_replaced():
    assert with_sizes("n = 1\nx = n\nn = 2\n", {"n": 5}, "The task") == "n = 5\nx = n\nn = 5\n"


name_texts = st.text(string.ascii_lowercase, min_size=1, max_size=6).map(lambda text: f"v_{text}")
literals = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
line_ends = st.sampled_from(["\n", "\r\n"])
noise = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0\\'\""), max_size=12)


@given(
    st.dictionaries(name_texts, st.tuples(literals, literals, noise), min_size=1, max_size=6),
    line_ends,
    noise,
)
def test_any_constants_can_be_set_beside_any_text(entries, end, text):
    lines = [f"s = '{text}'"]
    wanted = list(lines)
    sizes = {}
    for name, (old, new, comment) in entries.items():
        new = type(old)(new) if isinstance(old, int) else float(new)
        lines.append(f"'{text}'; {name} = {old!r} # {comment}")
        wanted.append(f"'{text}'; {name} = {new!r} # {comment}")
        sizes[name] = new
    assert with_sizes(end.join(lines), sizes, "The task") == end.join(wanted)


def test_the_size_table_is_read_and_taken_out():
    source = 'rows = 1\n\nSIZES = {\n    "cpu": {"rows": 2},\n    "gpu": {"rows": 3},\n}\n\nx = 0\n'
    rest, table = take_size_table(source, "The task")
    assert rest == "rows = 1\n\nx = 0\n"
    assert table == {"cpu": {"rows": 2}, "gpu": {"rows": 3}}
    assert sized(source, SizeClass.gpu, {}, "The task") == "rows = 3\n\nx = 0\n"
    assert sized(source, SizeClass.gpu, {"rows": 9}, "The task") == "rows = 9\n\nx = 0\n"


@pytest.mark.parametrize(
    "line",
    [
        'SIZES = {"cpu": {"rows": open("x")}}',
        'SIZES = {"tpu": {"rows": 1}}',
        "SIZES = [1, 2]",
        "SIZES = {}",
        "SIZES = rows",
        'SIZES = {"cpu": {1: 1}}',
        'a = SIZES = {"cpu": {"rows": 1}}',
        'a = 1; SIZES = {"cpu": {"rows": 1}}',
    ],
)
def test_a_constant_of_that_name_that_is_no_size_table_stays(line):
    source = f"rows = 1\n{line}\n"
    assert take_size_table(source, "The task") == (source, {})


def test_a_table_with_an_unknown_constant_is_refused():
    with pytest.raises(KbexpError, match="no constant 'cols'"):
        sized('rows = 1\nSIZES = {"cpu": {"cols": 2}}\n', SizeClass.cpu, {}, "The task")


@pytest.mark.parametrize(
    "source",
    [
        "def f(:",
        "x = 'a",
        "\0",
        "(" * 500,
        "x = " + "-" * 200_000 + "1",
        "a" * (MAX_CHARACTERS + 1),
    ],
)
def test_what_is_not_python_ends_in_one_sentence(source):
    with pytest.raises(KbexpError) as caught:
        parse(source, "The task")
    message = str(caught.value)
    assert message.startswith("The task ")
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 300


def test_the_format_is_checked_without_running_the_file(tmp_path):
    trace = tmp_path / "ran"
    body = f"open({str(trace)!r}, 'w')\n"
    check_format(
        body + "class Model: pass\ndef get_inputs(): pass\nget_init_inputs = list\n", "The task"
    )
    with pytest.raises(KbexpError, match="does not define get_init_inputs at module level"):
        check_format(body + "class Model:\n def get_init_inputs(self): pass\nget_inputs=1", "It")
    with pytest.raises(KbexpError, match="Model and get_inputs and get_init_inputs"):
        check_format(body, "The task")
    assert not trace.exists()


def test_names_may_be_bound_by_imports_and_branches():
    check_format(
        "from x import a as Model\ntry:\n    def get_inputs(): ...\nexcept E:\n    pass\n"
        "if True:\n    pass\nelse:\n    get_init_inputs = 1\n",
        "The task",
    )


def test_the_description_is_the_first_line_of_the_model():
    assert describe('class Model:\n    """Does this.\n\n    More."""\n') == "Does this."
    assert describe("class Model: pass") == ""
