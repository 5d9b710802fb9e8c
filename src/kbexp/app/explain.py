"""Turns what went wrong into one sentence for the person at the terminal.

Hydra reports a mistake on the command line over several lines, and some of them as a traceback.
Here every such exception becomes one sentence that names the choices or the closest ones.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import get_type_hints

from kbexp.app.flags import check_flags
from kbexp.app.unknown_size import unknown_size
from kbexp.config import RunConfig
from kbexp.errors import KbexpError

USAGE_ERROR = 2
"""Exit code where the command line, the configuration or a file was wrong."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the signal's number."""


class Stopped(BaseException):
    """A signal ended the run after all was written; not an Exception, so that a sweep ends too."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"stopped with exit code {exit_code}")
        self.exit_code = exit_code


class Refused(BaseException):
    """Carries an error, as its cause, past Hydra, which prints a line of its own for Exceptions."""


_verbatim = False
"""What the environment said before `main` had Hydra raise its errors, to be explained here."""

KINDS = {
    "Integer": "a whole number",
    "Float": "a number",
    "Boolean": "true or false",
    "String": "a text",
}


def main(entry: Callable[[], None], schema: type = RunConfig) -> int:
    """Run a Hydra entry point; print what went wrong as one sentence and return the exit code.

    With HYDRA_FULL_ERROR=1 in the environment every error keeps its traceback.
    """
    global _verbatim
    verbatim = _verbatim = os.environ.get("HYDRA_FULL_ERROR", "") not in ("", "0", "false")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        check_flags(sys.argv[1:])
        entry()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr, flush=True)
        return INTERRUPTED
    except Stopped as stopped:
        return stopped.exit_code
    except BrokenPipeError:
        # Whoever read our output has had enough; closing it must not fail a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (Exception, Refused) as caught:
        error = caught.__cause__ if isinstance(caught, Refused) else caught
        assert error is not None
        text = sentence(error, schema)
        if text is None or verbatim:
            traceback.print_exception(error)
        if text is None:
            return 1
        print(text, file=sys.stderr, flush=True)
        return exit_code_of(error)
    return 0


def wants_traceback() -> bool:
    """Tell whether the environment asked for every error's traceback when `main` began."""
    return _verbatim


def exit_code_of(error: BaseException) -> int:
    """Return the exit code for an error that a person can mend."""
    return error.exit_code if isinstance(error, KbexpError) else USAGE_ERROR


def sentence(error: BaseException, schema: type = RunConfig) -> str | None:
    """Return one sentence for an error that a person can mend, None for any other."""
    import yaml
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, KbexpError):
        return str(error)
    if isinstance(error, MissingConfigException):
        return _missing_choice(error)
    if isinstance(error, OmegaConfBaseException):
        return _bad_value(error, schema)
    if isinstance(error, HydraException):
        cause = error.__cause__
        if isinstance(cause, OmegaConfBaseException):
            return _bad_value(cause, schema, str(error))
        if "raised while composing config" in str(error):
            return _bad_file(str(error), schema)
        return _bad_override(str(error), str(getattr(error, "override", None) or ""))
    if isinstance(error, yaml.YAMLError):
        return f"A configuration file is not YAML: {_one_line(str(error))}."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename!s} cannot be used: {error.strerror}."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full: free some space, or choose another place with hydra.run.dir=…"
    if "Config group override must be" in str(error):
        return (
            "A group takes one of its choices by name, and a setting is written key=value, as in "
            "gpu=cpu seed=1; --help lists both."
        )
    if _raised_by_hydra(error):
        detail = _one_line(str(error)) or type(error).__name__
        return f"The command line cannot be read ({detail}): write group=choice or key=value."
    return None


def _missing_choice(error: Exception) -> str:
    """Explain a group's choice, or a configuration file, that does not exist."""
    missing = str(getattr(error, "missing_cfg_file", "") or "")
    options = getattr(error, "options", None) or []
    choices = [name for name in options if not name.startswith("_")]
    if missing.startswith("task/") and missing.endswith(".py"):
        path = missing.removeprefix("task/")
        return f"task= takes the name of a task; a file of your own is task=file task.path={path}."
    group, _, choice = missing.rpartition("/")
    if not group:
        return f"There is no configuration '{missing}': leave --config-name and --config-path out."
    if not choices:
        return f"There is no group '{group}' with a choice '{choice}'."
    return (
        f"{group} has no choice '{choice}'{_did_you_mean(choice, choices)}; "
        f"choose one of {', '.join(choices)}."
    )


def _bad_value(error: Exception, schema: type, context: str = "") -> str:
    """Explain an unknown key, a value of a wrong type, a missing value."""
    from omegaconf import errors

    key = str(getattr(error, "full_key", None) or "")
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    missing = re.search(r"Missing mandatory value: (\S+)", text)
    if missing:
        key = missing.group(1)
    if missing or isinstance(error, errors.MissingMandatoryValue):
        return f"{key} has no value: give it as {key}=…"
    if isinstance(error, errors.ConfigKeyError | errors.ConfigAttributeError):
        kind = getattr(error, "object_type", None)
        if "." not in key and kind is not schema and is_dataclass(kind):
            # An entry of a list: the error does not say of which one.
            names = [entry.name for entry in fields(kind)]
            hint = _did_you_mean(key, names)
            return f"An entry takes no '{key}'{hint}; it takes {', '.join(names)}."
        size = key.removeprefix("task.sizes.") if key.startswith("task.sizes.") else ""
        found = unknown_size(size, error.parent_node) if size else None
        return found or _unknown_key(key, schema)
    wanted = re.search(r"could not be converted to (\w+)", text)
    value = re.search(r"(?:Value|Invalid value) '(.*?)'", text)
    shown = f"not '{value.group(1)}'" if value else "not this"
    choices = re.search(r"expected one of \[(.*)\]", text)
    if choices:
        names = choices.group(1).split(", ")
        hint = _did_you_mean(value.group(1), names) if value else ""
        return f"{key} must be one of {', '.join(names)}, {shown}{hint}."
    if "is not a ListConfig" in text:
        return f"{key} must be a list, as in {key}=[…]."
    if "is not a subclass of" in text:
        return f"{key} is a group of settings: give one of them, as in {key}.NAME=…"
    if "not a valid bool" in text:
        return f"{key} must be true or false, {shown}."
    if wanted:
        return f"{key} must be {KINDS.get(wanted.group(1), wanted.group(1))}, {shown}."
    if "not Optional" in text or "Non optional" in text or "NoneType" in text:
        return f"{key or context} must have a value, not null."
    where = f"{key}: " if key and key not in text else ""
    return f"The configuration is wrong: {where}{_one_line(text)}."


def _unknown_key(key: str, schema: type) -> str:
    parent, _, last = key.rpartition(".")
    known = settings(schema)
    if parent in known and not any(name.startswith(f"{parent}.") for name in known):
        return f"{parent} has no entry '{last}' yet: add it with a plus, as in +{key}=…"
    if key.startswith("hydra."):
        return f"Hydra has no setting '{key}'."
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    near = near or [name for name in known if name.rpartition(".")[2] == last][:1]
    siblings = [
        name for name in known if name.rpartition(".")[0] == (parent if parent in known else "")
    ]
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"There is no setting '{key}'{hint}; the settings here are {', '.join(siblings)}."


def _bad_file(text: str, schema: type) -> str:
    """Explain what is wrong in a configuration file, from Hydra's lines about it."""
    file = re.search(r"In '(.+?)'", text)
    detail = _one_line(text.partition("composing config:")[2].strip().partition("\n")[0])
    name = f"{file.group(1)}.yaml" if file else "A configuration file"
    unknown = re.match(r"Key '(.+?)' not in", detail)
    if unknown and file:
        group = file.group(1).split("/")[0]
        return f"{name}: {_unknown_key(f'{group}.{unknown.group(1)}', schema)}"
    return f"{name} is wrong: {detail}."


def _bad_override(text: str, override: str) -> str:
    """Explain an override that Hydra could not read or apply."""
    first = _one_line(text.splitlines()[0]) if text else "unknown"
    ambiguous = re.match(r"Ambiguous value for argument '(.*)'", first)
    if ambiguous:
        override = ambiguous.group(1)
        key, _, value = override.partition("=")
        return (
            f"'{override}' gives several values: add --multirun to run each of them, "
            f"or write {key}=[{value}] for a list."
        )
    multiple = re.match(r"Multiple values for (\S+)\.", first)
    if multiple:
        group = multiple.group(1)
        return f"{group} has a choice already: write {group}=… without the plus."
    unknown = re.match(r"Could not (?:override|delete|append).*?'(.*?)'", first)
    if unknown:
        return f"There is nothing named '{unknown.group(1)}' to change: {first}."
    subject = f"'{override}'" if override else f"An override ({first})"
    return (
        f"{subject} cannot be read: write key=value, for example seed=1, and put quotes around "
        "a value with special characters, as in 'kernel=\"my file.py\"'."
    )


def settings(schema: type) -> list[str]:
    """Return the dotted names of all settings of a schema, groups before what is in them."""
    names: list[str] = []
    hints = get_type_hints(schema)
    for entry in fields(schema):
        names.append(entry.name)
        inner = hints[entry.name]
        if is_dataclass(inner) and isinstance(inner, type):
            names += [f"{entry.name}.{name}" for name in settings(inner)]
    return names


def _did_you_mean(word: str, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _raised_by_hydra(error: BaseException) -> bool:
    """Whether the innermost frame is the composing library's, and so the command line's fault."""
    deepest = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1:]
    names = [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame in deepest]
    return bool(names) and names[0] in {"hydra", "omegaconf", "antlr4"}
