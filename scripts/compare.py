"""Compare runs: `python scripts/compare.py outputs/softmax outputs/sweeps/LATEST`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

try:
    from kbexp.app.compare import compare
    from kbexp.errors import KbexpError
except ModuleNotFoundError as missing:
    print(
        f"{missing.name} is not installed for this Python: run `make setup`, then use "
        ".venv/bin/python in place of python.",
        file=sys.stderr,
    )
    sys.exit(2)


def main() -> int:
    """Print one table of all runs in and below the folders that are named."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="runs, or sweeps")
    try:
        print(compare(parser.parse_args().folders))
    except KbexpError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
