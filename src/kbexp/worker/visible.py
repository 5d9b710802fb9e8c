"""Which files a walled-in process is shown, and which of the person's are covered.

Shown are the system, Python's installation, what the zygote has imported and this package. Not
shown is what merely lies on the way: the folder that Python was started in, the checkout that the
package is imported from, other projects on Python's path. Where such a folder lies inside of
what is shown (a checkout below /opt), it is covered by an empty one.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = str(Path(__file__).resolve().parents[1])
SYSTEM_PATHS = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/sys", "/nix",
)  # fmt: skip
LIBRARIES = ("site-packages", "dist-packages")
INSTALLED = (
    "bin", "sbin", "include", "lib", "lib32", "lib64", "libexec", "share", "pyvenv.cfg", "nvvm",
    "targets",
)  # fmt: skip
"""What an installation consists of, where it shares its folder with other things."""

CHECKOUT_SIGNS = (".git", "pyproject.toml")


@functools.cache
def visible_paths() -> tuple[tuple[str, bool], ...]:
    """Return paths in the order in which they are to be shown (True) or covered (False).

    To be asked for in the zygote, which knows where everything was imported from; what is forked
    from it has the answer.
    """
    private = private_folders()
    return arranged({*SYSTEM_PATHS, *needed_paths(private)}, private)


def arranged(needed: Iterable[str], private: Iterable[str]) -> tuple[tuple[str, bool], ...]:
    """Return those of both that change what is seen, each after the folders that it lies in.

    A path that is in both is shown.
    """
    wanted = dict.fromkeys(private, False) | dict.fromkeys(needed, True)
    decided: dict[str, bool] = {}
    for path in sorted(wanted):
        above = (decided[at] for at in map(str, Path(path).parents) if at in decided)
        if wanted[path] is not next(above, False):
            decided[path] = wanted[path]
    return tuple(decided.items())


def private_folders() -> set[str]:
    """Return the person's folders that might lie inside of what is shown, by their real paths."""
    at_hand = set()
    with contextlib.suppress(FileNotFoundError):  # deleted since
        at_hand.add(os.path.realpath(os.getcwd()))
    if os.path.isabs(home := os.environ.get("HOME", "")):
        at_hand.add(os.path.realpath(home))
    roots = {*_prefixes(), "/", "/usr", "/usr/local"}
    parts = [os.path.join(root, name) for root in roots for name in INSTALLED]
    # Somebody who stands in /usr/lib has not made it a project.
    found = {path for path in at_hand if not any(_within(path, part) for part in parts)}
    checkout = checkout_of(PACKAGE)
    return (found | {checkout} if checkout else found) - {"/"}


def checkout_of(package: str) -> str | None:
    """Return the project's folder that a package is imported from; None where it is installed."""
    for folder in map(str, Path(package).parents):
        if os.path.basename(folder) in LIBRARIES:
            return None
        if any(os.path.exists(os.path.join(folder, sign)) for sign in CHECKOUT_SIGNS):
            return folder
    return None


def needed_paths(private: Iterable[str]) -> set[str]:
    """Return what this interpreter, its modules and its loaded libraries were read from.

    A folder at or above one of `private` is not shown as a whole, only what is needed of it.
    """

    def holds_private(folder: str) -> bool:
        return any(_within(path, os.path.realpath(folder)) for path in private)

    paths = {PACKAGE, os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}
    for prefix in _prefixes():
        shared = os.path.realpath(prefix) in private
        parts = [os.path.join(prefix, name) for name in INSTALLED]
        paths |= set(parts) if shared else {prefix}
        paths |= {path for path in sys.path if any(_within(path, part) for part in parts)}
    paths |= {path for path in sys.path if os.path.basename(path) in LIBRARIES}
    for place in _imported_from():
        folder = os.path.dirname(place)
        paths.add(folder if folder in sys.path and not holds_private(folder) else place)
    for library in _loaded_libraries():
        folder = os.path.dirname(library)
        paths.add(library if holds_private(folder) else folder)
    paths |= {os.path.realpath(path) for path in paths}
    return {path for path in paths if os.path.isabs(path) and path != "/" and os.path.exists(path)}


def _prefixes() -> set[str]:
    found = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    return found | {os.path.realpath(path) for path in found}


def _imported_from() -> Iterator[str]:
    """Yield the folder of every package, and the file of every module, outside of this one."""
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if "." in name or name in ("__main__", __package__.partition(".")[0]) or spec is None:
            continue
        if spec.submodule_search_locations is not None:
            yield from map(os.path.abspath, spec.submodule_search_locations)
        elif spec.has_location and spec.origin:
            yield os.path.abspath(spec.origin)


def _loaded_libraries() -> Iterator[str]:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            name = "/" + line.partition("/")[2].rstrip("\n")
            if ".so" in os.path.basename(name):
                yield name


def _within(path: str, folder: str) -> bool:
    """Whether a path is a folder, or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
