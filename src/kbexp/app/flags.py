"""The flags of the command line: Hydra's, and the words that people bring from elsewhere."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

from kbexp.errors import KbexpError

FORMER = {
    "--task_idx": "task=kernelbench_matmul task.index",
    "--num_steps": "algorithm.num_steps",
    "--num_candidates": "algorithm.num_candidates",
    "--num_threads": "algorithm.num_threads",
    "--num_proposals": "algorithm.num_proposals",
    "--algorithm": "algorithm",
    "--gpu": "gpu",
    "--verbose": "verbose",
    "--log_frequency": "algorithm.log_frequency",
    "--test_frequency": "algorithm.test_frequency",
    "--use_wandb": "logger.wandb",
    "--project_name": "project",
    "--run_name": "run_name",
}
"""Flags of an earlier command line, and the settings that took their place."""


_SECRET = re.compile(r"(?:^|[._+])(?:api_?key|secret|password|(?:auth|access)_token)$", re.I)


def check_flags(arguments: Sequence[str]) -> None:
    """Raise KbexpError for a flag that Hydra does not know, naming the setting that is meant.

    A setting that looks like a key is refused too, before anything is written down.
    """
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise KbexpError(f"The flags cannot be read ({message}); see --help.")

    for argument in arguments:
        key = argument.partition("=")[0]
        if _SECRET.search(key):
            # Hydra writes every override into the run's folder.
            raise KbexpError(
                f"{key} looks like a key, which does not belong on a command line: put it into an "
                "environment variable and name that, as llm.api_key_env=NAME."
            )
    parser = get_args_parser()
    known = [flag for action in parser._actions for flag in action.option_strings]
    for argument in arguments:
        flag = argument.partition("=")[0]
        if not re.match(r"--?[A-Za-z]", flag) or flag in known:
            continue
        if flag in FORMER:
            raise KbexpError(f"{flag} is a setting here: write {FORMER[flag]}=… instead.")
        near = difflib.get_close_matches(flag, known, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise KbexpError(
            f"There is no flag {flag}{hint}: settings are written key=value, see --help."
        )
    parser.error = refuse  # type: ignore[method-assign]
    if parser.parse_args(list(arguments)).multirun:
        _check_folder_of_sweep(arguments)


def _check_folder_of_sweep(arguments: Sequence[str]) -> None:
    """Raise KbexpError where a sweep is given the folder of a single run, which Hydra passes by."""
    for argument in arguments:
        key, _, folder = argument.partition("=")
        if key.lstrip("+") == "hydra.run.dir":
            raise KbexpError(
                "hydra.run.dir is the folder of a single run: with -m write "
                f"hydra.sweep.dir={folder}, in which every run gets a folder of its own."
            )
