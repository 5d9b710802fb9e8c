"""Writers of one journal that are killed at random moments; run by test_journal.py.

Each round forks a process that carries on the journal and says after every write, through a
pipe, how far it is. It is killed with SIGKILL; what it had said must then be in the journal.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from kbexp.events import EvaluationBegun
from kbexp.tracking import Journal, read


def write(path: Path, pipe: int, number: int, rng: random.Random) -> None:
    with Journal(path) as journal:
        while True:
            source = "x" * rng.choice((10, 5_000, 400_000))
            journal.write(EvaluationBegun(kernel_id="k", number=number, source=source))
            if rng.random() < 0.2:
                journal.commit()
            os.write(pipe, b"%d\n" % number)
            number += 1


def main(path: Path, rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    said = -1
    torn = 0
    for _ in range(rounds):
        reader, writer = os.pipe()
        start = sum(1 for _ in read(path)) if path.exists() else 0
        child = os.fork()
        if child == 0:
            os.close(reader)
            write(path, writer, start, rng)
            os._exit(0)
        os.close(writer)
        time.sleep(rng.random() * 0.02)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reader, "rb") as file:
            acknowledged = [int(line) for line in file.read().split(b"\n")[:-1]]
        said = max([said, *acknowledged])
        if path.exists():
            torn += not path.read_bytes().endswith(b"\n")
            numbers = [e.number for e in read(path) if isinstance(e, EvaluationBegun)]
            assert numbers == list(range(len(numbers))), numbers
            assert len(numbers) > said, (len(numbers), said)
            assert len(numbers) - start <= len(acknowledged) + 1
        rng = random.Random(rng.random())
    print(said, torn)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
