"""Measures how large the outputs of the bundled tasks are and writes it beside the catalogue.

Run it after a bundled task or its cpu sizes have changed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import kbexp.tasks
from kbexp.tasks.catalog import NAMES, SCALES_FILE, bundled
from kbexp.worker.check_task import check_task


def main() -> int:
    """Check every bundled task at its cpu sizes; write the scales unless one has a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    scales = {}
    faults = 0
    for name in NAMES:
        report = check_task(bundled(name).source, seed)
        scales[name] = {
            "rms": float(f"{report.rms:.4g}"),
            "abs_max": float(f"{report.abs_max:.4g}"),
        }
        print(f"{name:20} rms {report.rms:9.4g}  largest {report.abs_max:9.4g}")
        for finding in report.findings:
            faults += 1
            print(f"    {finding}")
    if faults:
        print(f"{faults} faults: nothing was written.")
        return 1
    path = Path(kbexp.tasks.__file__).parent / SCALES_FILE
    path.write_text(json.dumps(scales, indent=2) + "\n", encoding="utf-8")
    print(f"Wrote {path}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
