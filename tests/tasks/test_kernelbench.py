"""KernelBench as it is laid out in a checkout and on the hub, with small tasks of our own."""

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from kbexp.errors import KbexpError
from kbexp.tasks.kernelbench import kernelbench, kernelbench_matmul, matmul_problems

BODY = """import torch

class Model(torch.nn.Module):
    \"\"\"{words}\"\"\"
    def forward(self, x): return x * {number}

N = 2048 * 2

def get_inputs(): return [torch.rand(N)]
def get_init_inputs(): return []
"""
MATMULS = (1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)


def level_1(matmuls: tuple[int, ...] = MATMULS) -> dict[int, tuple[str, str]]:
    """Return names and sources of problems 1 to 30 by number."""
    found = {}
    for number in range(1, 31):
        words = "A matrix multiplication" if number in matmuls else "Something else"
        source = BODY.format(words=words, number=number)
        found[number] = ("23_Softmax" if number == 23 else f"{number}_Some_task_", source)
    return found


def write_checkout(root: Path, matmuls: tuple[int, ...] = MATMULS) -> Path:
    for level in (1, 2):
        folder = root / "KernelBench" / f"level{level}"
        folder.mkdir(parents=True)
        for name, source in level_1(matmuls).values():
            (folder / f"{name}.py").write_text(source)
    (root / "KernelBench" / "level1" / "README.py").write_text("not a problem")
    return root


def write_dataset(folder: Path, **columns: object) -> Path:
    """Write the parquet files that the hub has: one split a level, unsorted."""
    (folder / "data").mkdir(parents=True)
    for level in (1, 2, 3):
        rows = [
            {"code": source, "level": level, "name": name, "problem_id": number}
            for number, (name, source) in reversed(level_1().items())
        ]
        table = pyarrow.Table.from_pylist([{**row, **columns} for row in rows])
        pyarrow.parquet.write_table(table, folder / f"data/level_{level}-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return write_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"))


def test_a_checkout_its_inner_folder_and_the_dataset_give_the_same_task(checkout, dataset):
    task = kernelbench(1, 23, checkout)
    assert task.name == "kernelbench/1/23_Softmax"
    assert task.source == level_1()[23][1]
    assert kernelbench(1, 23, checkout / "KernelBench") == task
    assert kernelbench(1, 23, dataset=str(dataset)) == task
    assert kernelbench(1, 23, dataset=str(dataset / "data")) == task


def test_a_root_wins_over_the_dataset(checkout):
    assert kernelbench(2, 5, checkout, dataset="/nowhere").name == "kernelbench/2/5_Some_task_"


def test_sizes_are_overridden_in_kernelbench_too(checkout):
    task = kernelbench(1, 23, checkout, overrides={"N": 16})
    assert task.source == level_1()[23][1].replace("2048 * 2", "16")
    with pytest.raises(
        KbexpError, match=r"KernelBench task 1/23_Softmax has no constant 'M'.* N\."
    ):
        kernelbench(1, 23, checkout, overrides={"M": 16})


@pytest.mark.parametrize("source", ["checkout", "dataset"])
def test_the_matmul_preset_is_sixteen_tasks_by_number(source, request):
    place = request.getfixturevalue(source)
    where = {"root": place} if source == "checkout" else {"dataset": str(place)}
    assert tuple(problem.problem_id for problem in matmul_problems(**where)) == MATMULS
    tasks = [kernelbench_matmul(index, **where) for index in range(16)]
    assert [task.name for task in tasks] == [f"kernelbench/1/{n}_Some_task_" for n in MATMULS]
    assert {task.family for task in tasks} == {"matmul"}
    for index in (-1, 16):
        with pytest.raises(KbexpError, match=r"set task\.index to 0\.\.15\."):
            kernelbench_matmul(index, **where)


def test_a_preset_of_another_size_is_refused(tmp_path):
    root = write_checkout(tmp_path, MATMULS[:-1])
    with pytest.raises(KbexpError, match="has 15 tasks that say 'matrix multiplication', not 16"):
        kernelbench_matmul(0, root)


def test_an_unknown_level_or_problem_says_which_there_are(checkout, dataset, tmp_path):
    with pytest.raises(KbexpError, match=r"no problem 31: set task\.problem to 1\.\.30\."):
        kernelbench(1, 31, checkout)
    with pytest.raises(KbexpError, match=r"has no level 4: set task\.level to 1\.\.2\."):
        kernelbench(4, 1, checkout)
    with pytest.raises(KbexpError, match=r"no split level_9: set task\.level to 1\.\.3\."):
        kernelbench(9, 1, dataset=str(dataset))
    with pytest.raises(KbexpError, match=r"no split level_1: set task\.root"):
        kernelbench(1, 1, dataset=str(tmp_path))


def test_a_root_that_is_no_checkout_says_what_to_do(tmp_path):
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(KbexpError, match=r"no KernelBench in .*set task\.root"):
            kernelbench(1, 1, root)


def test_a_dataset_of_another_shape_is_refused(tmp_path):
    (tmp_path / "level_1-00000-of-00001.parquet").write_bytes(b"not parquet")
    with pytest.raises(KbexpError, match="not a parquet file with the columns"):
        kernelbench(1, 1, dataset=str(tmp_path))
    other = pyarrow.table({"code": ["x"], "id": [1]})
    pyarrow.parquet.write_table(other, tmp_path / "level_1-00000-of-00001.parquet")
    with pytest.raises(KbexpError, match="not a parquet file with the columns"):
        kernelbench(1, 1, dataset=str(tmp_path))
    with pytest.raises(KbexpError, match="not a parquet file with the columns"):
        kernelbench(1, 1, dataset=str(write_dataset(tmp_path / "texts", problem_id="one")))
    with pytest.raises(KbexpError, match="not a parquet file with the columns"):
        kernelbench(1, 1, dataset=str(write_dataset(tmp_path / "nulls", code=None)))


def test_a_name_from_a_dataset_cannot_leave_its_folder(tmp_path):
    folder = write_dataset(tmp_path, name="../../x y\n.py")
    assert kernelbench(1, 1, dataset=str(folder)).name == "kernelbench/1/.._.._x_y_"


def test_a_problem_that_is_no_task_is_refused(tmp_path):
    root = write_checkout(tmp_path)
    (root / "KernelBench/level1/23_Softmax.py").write_text("x = 1\n")
    with pytest.raises(KbexpError, match="task 1/23_Softmax does not define Model"):
        kernelbench(1, 23, root)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a download of a dataset needs."""

    folder: Path
    commit = "0123456789012345678901234567890123456789"

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        if "/bench/" not in path:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        names = [str(file.relative_to(self.folder)) for file in self.folder.rglob("*.parquet")]
        if path.startswith("/api/datasets/"):
            siblings = [{"rfilename": name} for name in [*names, "README.md"]]
            about = {"_id": "1", "id": "owner/bench", "sha": self.commit, "siblings": siblings}
            tree = [{"type": "file", "path": n, "size": 1, "oid": "0" * 40} for n in names]
            data = json.dumps(tree if "/tree/" in path else about).encode()
        else:
            data = (self.folder / path.partition(self.commit + "/")[2]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{abs(hash(path)):040d}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


ASK = """
import sys
from kbexp.errors import KbexpError
from kbexp.tasks.kernelbench import kernelbench
try:
    print(kernelbench(1, 23, dataset=sys.argv[1]).id)
except KbexpError as error:
    print(error)
"""


def ask_hub(dataset: str, endpoint: str, home: Path) -> str:
    """Ask for a task in a process of its own: the client reads its settings when imported."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK, dataset],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip()


def test_a_task_is_downloaded_from_a_hub_and_then_read_from_its_cache(dataset, tmp_path):
    handler = type("Handler", (Hub,), {"folder": dataset})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        wanted = kernelbench(1, 23, dataset=str(dataset)).id
        home = tmp_path / "home"
        assert "no dataset 'owner/other'" in ask_hub("owner/other", endpoint, home)
        assert ask_hub("owner/bench", endpoint, home) == wanted
    finally:
        server.shutdown()
        server.server_close()
    assert ask_hub("owner/bench", endpoint, home) == wanted
    message = ask_hub("owner/bench", endpoint, tmp_path / "empty")
    assert "could not be had from the Hugging Face hub" in message
    assert "set task.root" in message


def test_a_dataset_that_is_neither_a_folder_nor_a_name_is_refused():
    with pytest.raises(KbexpError, match="neither a folder here nor a name on the"):
        kernelbench(1, 1, dataset="/no/such/folder")
