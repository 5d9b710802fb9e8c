"""KernelBench's problems: from a checkout, from the Hugging Face hub or from a copy of its dataset.

A checkout holds one file a problem, `KernelBench/level1/23_Softmax.py`; the dataset on the hub
holds one split a level (`level_1`), with the columns code, level, name and problem_id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kbexp.errors import KbexpError
from kbexp.tasks.file import read_source

HUB_DATASET = "ScalingIntelligence/KernelBench"
"""KernelBench's dataset on the Hugging Face hub."""

COLUMNS = ("code", "name", "problem_id")
"""What is read of the dataset; its column level repeats the split's name."""

_SET_ROOT = "set task.root to a checkout of github.com/ScalingIntelligence/KernelBench"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem as KernelBench has it; `name` is like `23_Softmax`, with no ending."""

    level: int
    problem_id: int
    name: str
    source: str


def problems(
    level: int, root: str | Path | None = None, dataset: str = HUB_DATASET
) -> dict[int, Problem]:
    """Return a level's problems by number; raises KbexpError where there are none."""
    if root is not None:
        return dict(sorted(_from_checkout(level, Path(root).expanduser())))
    local = Path(dataset).expanduser()
    folder = local if local.exists() else _download(dataset)
    return dict(sorted(_from_parquet(level, folder, dataset)))


def _from_checkout(level: int, root: Path) -> Iterator[tuple[int, Problem]]:
    """Yield the problems of a level by number, from `root` or from the folder inside it."""
    bases = [base for base in (root / "KernelBench", root) if _levels(base)]
    if not bases:
        raise KbexpError(
            f"There is no KernelBench in {root} (no folder level1 in it or in {root}/KernelBench): "
            f"{_SET_ROOT}."
        )
    levels = _levels(bases[0])
    if level not in levels:
        raise KbexpError(
            f"{bases[0]} has no level {level}: set task.level to {ranges(sorted(levels))}."
        )
    for path in levels[level].glob("*.py"):
        match = re.match(r"(\d+)_", path.name)
        if match:
            number = int(match[1])
            source = read_source(path, f"The task file {path}")
            yield number, Problem(level, number, _safe_name(path.stem), source)


def _levels(base: Path) -> dict[int, Path]:
    """Return the folders level1, level2 … of a folder by their numbers."""
    return {
        int(match[1]): path
        for path in base.glob("level*")
        if (match := re.fullmatch(r"level(\d+)", path.name)) and path.is_dir()
    }


def _download(dataset: str) -> Path:
    """Return a folder with the dataset's files, from the hub or its local cache."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
    except ImportError as error:
        raise KbexpError(
            f"KernelBench's dataset needs the package huggingface_hub: install it, or {_SET_ROOT}."
        ) from error
    name, _, revision = dataset.partition("@")
    try:
        folder = snapshot_download(
            name,
            repo_type="dataset",
            revision=revision or None,
            allow_patterns="*level_*.parquet",
        )
    except HFValidationError as error:
        raise KbexpError(
            f"task.dataset is '{dataset}', which is neither a folder here nor a name on the "
            f"Hugging Face hub: give {HUB_DATASET}, or {_SET_ROOT}."
        ) from error
    except RepositoryNotFoundError as error:
        raise KbexpError(
            f"The Hugging Face hub has no dataset '{dataset}' that can be read here: give "
            f"{HUB_DATASET}, or {_SET_ROOT}."
        ) from error
    except Exception as error:  # The hub's client raises errors of several libraries.
        raise KbexpError(
            f"KernelBench's dataset '{dataset}' could not be had from the Hugging Face hub "
            f"({type(error).__name__}): {_SET_ROOT}, or task.dataset to a local copy."
        ) from error
    return Path(str(folder))


def _from_parquet(level: int, folder: Path, dataset: str) -> Iterator[tuple[int, Problem]]:
    """Yield the problems of a split by number, from the parquet files below a folder."""
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise KbexpError(
            f"KernelBench's dataset needs the package pyarrow: install it, or {_SET_ROOT}."
        ) from error
    splits = _splits(folder)
    if level not in splits:
        known = f"set task.level to {ranges(sorted(splits))}" if splits else _SET_ROOT
        raise KbexpError(f"The dataset '{dataset}' has no split level_{level}: {known}.")
    for path in sorted(splits[level]):
        try:
            columns = pyarrow.parquet.read_table(path, columns=list(COLUMNS)).to_pydict()
            rows = zip(*(columns[column] for column in COLUMNS), strict=True)
            found = [_problem(level, code, name, number) for code, name, number in rows]
        except (pyarrow.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise KbexpError(
                f"{path} is not a parquet file with the columns {', '.join(COLUMNS)}: {_SET_ROOT}."
            ) from error
        yield from ((problem.problem_id, problem) for problem in found)


def _problem(level: int, code: object, name: object, number: object) -> Problem:
    """Return one row of the dataset as a problem; raises TypeError where it is not one."""
    if not (isinstance(code, str) and isinstance(name, str) and isinstance(number, int)):
        raise TypeError("a row of another type")
    return Problem(level, number, _safe_name(name.removesuffix(".py")), code)


def _splits(folder: Path) -> dict[int, list[Path]]:
    """Return the parquet files below a folder by the level in their names."""
    found: dict[int, list[Path]] = {}
    files = [folder] if folder.is_file() else folder.rglob("*.parquet")
    for path in files:
        match = re.match(r"level_(\d+)(?:-|\.parquet$)", path.name)
        if match:
            found.setdefault(int(match[1]), []).append(path)
    return found


def _safe_name(name: str) -> str:
    """Return a problem's name with the characters of KernelBench's own names only."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:100]


def ranges(numbers: list[int]) -> str:
    """Return sorted numbers as people write them: 1..4, 6, 8..10."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}..{p[-1]}" for p in parts) or "none"
