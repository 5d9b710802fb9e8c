import os
from pathlib import Path

import pytest

from kbexp.config import SizeClass, TaskConfig
from kbexp.errors import KbexpError
from kbexp.tasks.catalog import NAMES, bundled, bundled_source
from kbexp.tasks.file import file_task_name
from kbexp.tasks.load import load

ROOT = Path(__file__).parents[2]
TASK = """
import torch
n = 4
class Model(torch.nn.Module):
    def forward(self, x): return x * 2
def get_inputs(): return [torch.randn(n)]
def get_init_inputs(): return []
"""


def composed(*overrides: str) -> TaskConfig:
    """Return what Hydra makes of the yaml files under conf/task."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from kbexp.app.configuration import register

    GlobalHydra.instance().clear()
    register(ROOT / "conf")
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        config = OmegaConf.to_object(compose(overrides=[*overrides]).task)
    assert isinstance(config, TaskConfig)
    return config


@pytest.mark.parametrize("name", NAMES)
def test_every_bundled_task_is_a_choice(name):
    task = load(composed(f"+task={name}"), SizeClass.gpu)
    assert task == bundled(name, SizeClass.gpu)


def test_sizes_can_be_overridden_on_the_command_line():
    config = composed("+task=softmax", "task.sizes.rows=12")
    assert load(config, SizeClass.cpu) == bundled("softmax", overrides={"rows": 12})


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ("path=mine.py", "file"),
        ("level=1", "kernelbench"),
        ("problem=23", "kernelbench"),
        ("index=3", "kernelbench_matmul"),
    ],
)
def test_a_setting_of_another_kind_of_task_is_a_mistake(setting, kind):
    config = composed("+task=softmax", f"task.{setting}")
    with pytest.raises(KbexpError, match=rf"read by task={kind} and not by .* softmax: add "):
        load(config, SizeClass.cpu)


def test_there_is_a_choice_for_every_other_kind(tmp_path):
    names = {path.stem for path in (ROOT / "conf" / "task").glob("*.yaml")}
    assert names == {*NAMES, "file", "kernelbench", "kernelbench_matmul"}
    path = tmp_path / "mine.py"
    path.write_text(TASK)
    task = load(composed("+task=file", f"task.path={path}", "+task.sizes.n=9"), SizeClass.cpu)
    assert task.name == "mine"
    assert task.source == TASK.replace("n = 4", "n = 9")
    config = composed("+task=kernelbench", "task.problem=23")
    assert config.name == "kernelbench/1/23"
    assert (config.kind, config.level, config.problem) == ("kernelbench", 1, 23)
    config = composed("+task=kernelbench_matmul", "task.index=3")
    assert (config.kind, config.index) == ("kernelbench_matmul", 3)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("some/where/my-task.v2.py", "my-task.v2"),
        ("a b\x1b[31m\n'$(reboot)`.py", "a_b_31m_reboot"),
        ("größe.py", "gr_e"),
        ("...py", "file"),
        ("..", "file"),
        ("-rf.py", "rf"),
        ("x" * 300 + ".py", "x" * 80),
        (None, "file"),
    ],
)
def test_a_file_names_its_task(path, name):
    assert file_task_name(path) == name


def test_a_files_task_has_one_name_everywhere(tmp_path):
    path = tmp_path / "my task.py"
    path.write_text(TASK)
    config = composed("+task=file", f"task.path='{path}'")
    assert (config.name, load(config, SizeClass.cpu).name) == ("my_task", "my_task")
    other = composed("+task=file", f"task.path='{path}'", "task.name=other")
    assert (other.name, load(other, SizeClass.cpu).name) == ("other", "other")


def test_a_file_with_a_size_table_is_used_like_a_bundled_task(tmp_path):
    path = tmp_path / "copy.py"
    path.write_text(bundled_source("rope"))
    config = TaskConfig(name="file", kind="file", path=str(path))
    assert load(config, SizeClass.gpu).source == bundled("rope", SizeClass.gpu).source


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "mine.py"
    path.write_bytes(b"\xef\xbb\xbf" + TASK.encode())
    assert load(TaskConfig(kind="file", path=str(path)), SizeClass.cpu).source == TASK


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"import torch\n", "does not define Model"),
        (b"class Model(:\n", "not valid Python"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"\x00" * 10, "not valid Python"),
        (b"x = 1\n" * 2**20, "more than"),
    ],
)
def test_a_file_that_is_no_task_ends_in_one_sentence(tmp_path, content, words):
    path = tmp_path / "bad.py"
    path.write_bytes(content)
    assert words in refusal(TaskConfig(kind="file", path=str(path)))


def test_a_file_that_cannot_be_read_ends_in_one_sentence(tmp_path):
    assert "does not exist" in refusal(TaskConfig(kind="file", path=str(tmp_path / "none.py")))
    assert "is a folder" in refusal(TaskConfig(kind="file", path=str(tmp_path)))
    assert "set task.path" in refusal(TaskConfig(kind="file"))
    assert "cannot be read" in refusal(TaskConfig(kind="file", path="a\0b"))
    locked = tmp_path / "locked.py"
    locked.write_text(TASK)
    locked.chmod(0)
    if os.geteuid() != 0:
        assert "cannot be read" in refusal(TaskConfig(kind="file", path=str(locked)))


def test_a_configuration_that_names_no_task_ends_in_one_sentence():
    assert "bundled, file, kernelbench" in refusal(TaskConfig(kind="magic"))
    assert "task.problem" in refusal(TaskConfig(kind="kernelbench", level=1))
    assert "0..15" in refusal(TaskConfig(kind="kernelbench_matmul"))
    assert "softmax" in refusal(TaskConfig(name="nothing"))


def refusal(config: TaskConfig) -> str:
    """Return the one sentence with which a configuration is refused."""
    with pytest.raises(KbexpError) as caught:
        load(config, SizeClass.cpu)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message
