"""Registers the schemas of the configuration groups with Hydra, and reads a composed config back.

Every yaml file of a group begins with its schema (`defaults: [_gpu, _self_]`), so that a wrong key
or a value of a wrong type is refused before anything starts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

from kbexp import config, script_config
from kbexp.errors import KbexpError
from kbexp.search_config import AlgorithmConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig

GROUPS: dict[str, type] = {
    "gpu": config.GpuConfig,
    "task": config.TaskConfig,
    "algorithm": AlgorithmConfig,
    "llm": config.LlmConfig,
    "evaluator": config.EvaluatorConfig,
    "budget": config.BudgetConfig,
    "logger": config.LoggerConfig,
}
"""The groups with a schema. `experiment` and `debug` have none: they choose among the others."""

LONGEST_PART = 80
"""Characters of a folder name made from overrides; file systems allow 255 bytes."""

ROOTS: dict[str, type] = {
    "_config": config.RunConfig,
    "_evaluate": script_config.EvaluateConfig,
    "_check": script_config.CheckConfig,
    "_deploy": script_config.DeployConfig,
}
"""What a program can be told, by the name that its own file begins with."""

Schema = TypeVar(
    "Schema",
    config.RunConfig,
    script_config.EvaluateConfig,
    script_config.CheckConfig,
    script_config.DeployConfig,
)


def register(folder: Path) -> None:
    """Store the schemas as in `ROOTS` and as `<group>/_<group>`, and our resolvers.

    `folder` is that of the configuration files; the help lists its choices.
    """
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    store = ConfigStore.instance()
    for name, root in ROOTS.items():
        store.store(name=name, node=root)
    for group, schema in GROUPS.items():
        store.store(group=group, name=f"_{group}", node=schema)
    OmegaConf.register_new_resolver("path_part", path_part, replace=True)
    OmegaConf.register_new_resolver("telling_first", telling_first, replace=True)
    OmegaConf.register_new_resolver("file_task_name", _file_task_name, replace=True)
    OmegaConf.register_new_resolver(
        "choices", lambda *groups: _choices_text(folder, groups), replace=True
    )


def _file_task_name(path: object) -> str:
    from kbexp.tasks.file import file_task_name

    return file_task_name(None if path is None else str(path))


def telling_first(overrides: str) -> str:
    """Return overrides with those first by which runs of a sweep mostly differ.

    What follows is cut off where a name gets too long.
    """
    telling = ("task", "task.index", "task.problem", "task.path", "gpu", "algorithm", "llm", "seed")

    def rank(override: str) -> int:
        key = override.partition("=")[0]
        return telling.index(key) if key in telling else len(telling)

    return ",".join(sorted(overrides.split(","), key=rank))


def path_part(text: object) -> str:
    """Return a text as one part of a path: safe characters only, of bounded length."""
    # No "=": a folder's name can then be given on a command line as it is.
    safe = re.sub(r"[^A-Za-z0-9._+-]+", "_", str(text).replace("=", "-")).strip("._")
    return safe[:LONGEST_PART] or "default"


def choices(folder: Path, group: str) -> list[str]:
    """Return the names of a group's files, sorted."""
    return sorted(path.stem for path in (folder / group).glob("*.yaml"))


def typed(composed: DictConfig, schema: type[Schema]) -> Schema:
    """Return a composed configuration as dataclasses.

    Raises KbexpError for a key that the schema has not (an override with a plus can add one)
    and for a missing value.
    """
    from omegaconf import OmegaConf

    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        group, _, name = missing[0].rpartition(".")
        if name == "name" and group in GROUPS:
            raise KbexpError(f"{group} has no choice: write {group}=…; --help lists the choices.")
        raise KbexpError(f"{missing[0]} has no value: give it as {missing[0]}=…")
    plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    _refuse_strangers(cast("dict[str, Any]", plain), schema, "")
    return cast("Schema", OmegaConf.to_object(composed))


def _refuse_strangers(values: dict[str, Any], schema: type, prefix: str) -> None:
    known = [entry.name for entry in fields(schema)]
    hints = get_type_hints(schema)
    for name, value in values.items():
        if name not in known:
            raise KbexpError(
                f"There is no setting '{prefix}{name}': leave it out; the settings here are "
                f"{', '.join(known)}."
            )
        inner = hints[name]
        if isinstance(inner, type) and is_dataclass(inner) and isinstance(value, dict):
            _refuse_strangers(value, inner, f"{prefix}{name}.")


def check_choices(chosen: Mapping[str, Any], schema: type) -> None:
    """Raise KbexpError where a group was given no choice or several, which Hydra would merge.

    `chosen` is Hydra's own record of the choices, which leaves such groups out.
    """
    for entry in fields(schema):
        if entry.name in GROUPS and not isinstance(chosen.get(entry.name), str):
            raise KbexpError(
                f"{entry.name} takes exactly one choice: write {entry.name}=… with one name, "
                "or several names with commas and --multirun."
            )


def _choices_text(folder: Path, groups: tuple[str, ...]) -> str:
    """Return the help's table: a group a line, its choices wrapped at 96 columns."""
    import textwrap

    lines = []
    for group in groups:
        names = ", ".join(choices(folder, group))
        lines += textwrap.wrap(
            names, 96, initial_indent=f"  {group:<12}", subsequent_indent=" " * 14
        )
    return "\n".join(lines)


def plain(settings: config.RunConfig) -> dict[str, Any]:
    """Return a configuration as JSON would hold it."""

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): convert(item) for key, item in value.items()}
        return str(value) if isinstance(value, str) else value

    record: dict[str, Any] = convert(asdict(settings))
    return record
