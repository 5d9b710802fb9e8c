"""What a kernel can see and do from behind each kind of wall."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kernels import kernel, quick

import kbexp
from kbexp.errors import EvaluatorUnavailable
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Status
from kbexp.worker.nursery import FOLDER_PREFIX, sweep_folders
from kbexp.worker.processes import clean_environment
from kbexp.worker.visible import SYSTEM_PATHS
from kbexp.worker.worker import Worker

HOME_PREFIX = f"home-{os.getpid()}-"
GOOD = "return torch.softmax(x * self.weight, dim=-1)"


@pytest.fixture(scope="module", params=["namespaces", "user_namespaces", "process"])
def walled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    settings = quick(isolation=request.param, cache_dir=str(tmp_path_factory.mktemp("builds")))
    started_in = tmp_path_factory.mktemp("started_in")
    # A home inside of what has to be shown; elsewhere where that is not ours to write to.
    within = sys.prefix if os.access(sys.prefix, os.W_OK) else str(started_in)
    home = Path(tempfile.mkdtemp(prefix=HOME_PREFIX, dir=within))
    for folder in (started_in, home):
        folder.chmod(0o755)
        (folder / "notes.txt").write_text("secret")
    worker = Worker("cpu", settings, env={"HARMLESS": "1", "HOME": str(home)})
    try:
        with contextlib.chdir(started_in):
            worker.start()
    except EvaluatorUnavailable:
        worker.close()
        shutil.rmtree(home)
        pytest.skip(f"{request.param} cannot be had here")
    assert worker.isolation == request.param
    yield worker
    worker.close()
    shutil.rmtree(home)


def told(worker: Worker, task: Task, expression: str) -> str:
    """Return what an expression is inside a kernel."""
    verdict = worker.evaluate(task, kernel(f"raise ValueError('<<' + str({expression}) + '>>')"))
    assert verdict.status is Status.RUNTIME_ERROR, verdict
    text = verdict.log[verdict.log.rindex("<<") + 2 : verdict.log.rindex(">>")]
    return text


def strong(worker: Worker) -> bool:
    return worker.isolation != "process"


def test_an_honest_kernel_passes(walled: Worker, task: Task) -> None:
    verdict = walled.evaluate(task, kernel(GOOD))
    assert verdict.status is Status.CORRECT, verdict.reasons
    assert verdict.isolation == walled.isolation


def test_keys_do_not_get_in(walled: Worker, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("WANDB_API_KEY", "secret-too")
    assert "OPENAI_API_KEY" not in clean_environment()
    names = told(walled, task, "sorted(os.environ)")
    assert "KEY" not in names
    assert "HARMLESS" in names
    first = told(walled, task, "open('/proc/self/environ').read()")
    assert "KEY" not in first


def test_no_network(walled: Worker, task: Task) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        body = (
            "import socket\n"
            f"try: socket.create_connection(('127.0.0.1', {port}), 2); found = 'open'\n"
            "except OSError as error: found = repr(error)\n"
            "raise ValueError('<<' + found + '>>')"
        )
        verdict = walled.evaluate(task, kernel(body))
    assert ("open" in verdict.reasons[0]) is not strong(walled), verdict


def test_no_other_processes_and_no_files_of_the_person(
    walled: Worker, task: Task, tmp_path: Path
) -> None:
    if not strong(walled):
        pytest.skip("this level has no such wall")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    processes = told(walled, task, "[n for n in os.listdir('/proc') if n.isdigit()]")
    assert processes.count("'") <= 6
    assert told(walled, task, f"os.path.exists({str(secret)!r})") == "False"
    home = told(walled, task, f"os.path.exists({str(Path.home() / '.ssh')!r})")
    assert home == "False"
    # Its own three, and what must be read where this checkout lies below /tmp itself.
    needed = {Path(__file__).parts[2], Path(sys.prefix).parts[2]}
    names = set(told(walled, task, "os.listdir('/tmp')").strip("[]").replace("'", "").split(", "))
    assert len(names - needed) <= 3


@pytest.fixture
def in_checkout() -> Iterator[list[Path]]:
    """Files that everybody may read beside this package: of its checkout, and two more."""
    source = Path(kbexp.__file__).parents[1]
    checkout = Path(__file__).parents[2]
    made = [folder / f".env-{os.getpid()}" for folder in (source, checkout)]
    for path in made:
        path.write_text("KEY=secret")
        path.chmod(0o644)
    yield [*made, checkout / "README.md", checkout / ".git" / "config", Path(__file__)]
    for path in made:
        path.unlink()


def test_the_checkout_and_the_current_folder_cannot_be_seen(
    walled: Worker, task: Task, in_checkout: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not strong(walled):
        pytest.skip("this level has no such wall")
    notes = list(tmp_path_factory.getbasetemp().rglob("notes.txt"))
    notes += Path(sys.prefix).glob(f"{HOME_PREFIX}*/notes.txt")
    assert len(notes) >= 2
    places = [str(path) for path in (*in_checkout, *notes)]
    assert told(walled, task, f"[at for at in {places!r} if os.path.lexists(at)]") == "[]"


def test_all_that_is_mounted_is_known(walled: Worker, task: Task) -> None:
    if not strong(walled):
        pytest.skip("this level has no such wall")
    listing = "[line.split()[4] for line in open('/proc/self/mountinfo')]"
    mounted = told(walled, task, listing).strip("[]").replace("'", "").split(", ")
    scratch = {"/", "/proc", "/tmp", "/dev/shm", "/var/tmp"}
    shown = {*SYSTEM_PATHS, sys.prefix, sys.base_prefix, str(Path(kbexp.__file__).parent)}
    shown |= {os.path.realpath(path) for path in shown} | {"/dev"}
    others = {place for place in mounted if place not in scratch}
    assert "/usr" in others
    strange = [at for at in others if not any(f"{at}/".startswith(f"{to}/") for to in shown)]
    assert strange == []
    names = told(walled, task, "os.listdir('/')").strip("[]").replace("'", "").split(", ")
    roots = {Path(at).parts[1] for at in {*mounted, *SYSTEM_PATHS} - {"/"}}
    assert set(names) <= roots


def test_nothing_outside_the_scratch_can_be_written(walled: Worker, task: Task) -> None:
    if not strong(walled):
        pytest.skip("this level has no such wall")
    places = [
        str(Path(__file__).parents[2] / "x"),
        "/usr/x",
        "/etc/x",
        "/x",
        "/opt/x",
        sys.prefix + "/x",
    ]
    body = (
        "made = []\n"
        f"for place in {places!r}:\n"
        "    try: open(place, 'w').close(); made.append(place)\n"
        "    except OSError: pass\n"
        "open('/tmp/fine', 'w').close()\n"
        "raise ValueError('<<' + str(made) + '>>')"
    )
    verdict = walled.evaluate(task, kernel(body))
    written = [place for place in places if Path(place).exists()]
    assert written == []
    # The root itself is a memory file system that ends with the process.
    assert "/usr/x" not in verdict.reasons[0]
    assert "/etc/x" not in verdict.reasons[0]


def test_rights_are_gone(walled: Worker, task: Task) -> None:
    status = told(walled, task, "open('/proc/self/status').read()")
    assert "NoNewPrivs:\t1" in status
    if strong(walled):
        assert "CapEff:\t0000000000000000" in status
    if walled.isolation == "namespaces":
        assert told(walled, task, "os.getuid()") not in ("0", str(os.getuid()))


def test_descriptors_of_others_do_not_get_in(walled: Worker, task: Task) -> None:
    found = told(walled, task, "sorted(int(n) for n in os.listdir('/proc/self/fd'))")
    numbers = [int(number) for number in found.strip("[]").split(",")]
    assert len(numbers) <= 8, found


def test_what_it_starts_ends_with_it(walled: Worker, task: Task) -> None:
    # A name of its own: runners that wait for the next kernel are called as this one is.
    body = (
        "import ctypes\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os.setsid()\n"
        "    ctypes.CDLL(None).prctl(15, b'left-behind', 0, 0, 0)\n"
        "    if os.fork() == 0:\n"
        "        os.closerange(0, 100)\n"
        "        while True: time.sleep(1)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n" + GOOD
    )
    verdict = walled.evaluate(task, kernel(body))
    assert verdict.status is Status.CORRECT, (verdict.reasons, verdict.log)
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended while we looked
            if process.name() == "left-behind" and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    assert left == []


def test_one_kernel_leaves_nothing_for_the_next(walled: Worker, task: Task) -> None:
    walled.evaluate(task, kernel("open('left', 'w').write('x')\ntorch.set_num_threads(1)\n" + GOOD))
    found = told(walled, task, "(os.path.exists('left'), torch.get_num_threads())")
    assert found == f"(False, {len(os.sched_getaffinity(0))})"


def test_an_unknown_level_is_refused() -> None:
    worker = Worker("cpu", quick(isolation="moat"))
    with pytest.raises(EvaluatorUnavailable, match="isolation=moat"):
        worker.start()
    worker.close()


def test_folders_of_the_dead_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stale = tmp_path / f"{FOLDER_PREFIX}{ended.pid}-x"
    mine = tmp_path / f"{FOLDER_PREFIX}{os.getpid()}-x"
    stale.mkdir()
    mine.mkdir()
    sweep_folders()
    assert (stale.exists(), mine.exists()) == (False, True)


def test_calls_that_reach_out_are_refused(walled: Worker, task: Task) -> None:
    # By number, as a kernel's native code would: ptrace, unshare with a new user namespace, keyctl.
    libc = "__import__('ctypes').CDLL(None, use_errno=True)"
    numbers = {"x86_64": (101, 272, 250), "aarch64": (117, 97, 219)}[os.uname().machine]
    arguments = ((0, 0, 0, 0), (0x10000000,), (0, 0, 0, 0))
    for number, values in zip(numbers, arguments, strict=True):
        call = f"({libc}.syscall({number}, *{values}), __import__('ctypes').get_errno())"
        assert told(walled, task, call) == "(-1, 1)"
    # clone with a flag that asks for a user namespace; clone3 is said not to exist.
    clone = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    assert told(walled, task, f"{libc}.syscall({clone}, 0x10000011, 0, 0, 0, 0)") == "-1"
    errno = "__import__('ctypes').get_errno()"
    assert told(walled, task, f"({libc}.syscall(435, 0, 0), {errno})") == "(-1, 38)"
    # A signal of its choice at its parent's death would wake it while it is held.
    assert told(walled, task, f"({libc}.prctl(1, 18), {errno})") == "(-1, 1)"
    assert told(walled, task, f"{libc}.prctl(15, b'named')") == "0"


HOLES = """
import mmap, socket
libc = ctypes.CDLL(None, use_errno=True)
block = mmap.mmap(-1, 8192)
at = ctypes.addressof(ctypes.c_char.from_buffer(block))
file = os.memfd_create("x")
os.ftruncate(file, 8192)
said = []
def note(result):
    said.append(ctypes.get_errno() if result else 0)
note(libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(4096), 9))
note(libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(4096), 4))
note(libc.fallocate(file, 3, ctypes.c_long(0), ctypes.c_long(4096)))
note(libc.fallocate(file, 0, ctypes.c_long(0), ctypes.c_long(4096)))
for family in (40, 38, 17):
    try: socket.socket(family, socket.SOCK_STREAM)
    except OSError as error: said.append(error.errno)
for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_NETLINK):
    socket.socket(family, socket.SOCK_DGRAM).close()
socket.socketpair()
raise ValueError('<<' + str(said) + '>>')
"""


def test_no_holes_in_files_and_no_sockets_past_the_namespace(walled: Worker, task: Task) -> None:
    verdict = walled.evaluate(task, kernel(HOLES))
    assert "<<[1, 0, 1, 0, 97, 97, 97]>>" in verdict.reasons[0], verdict


def test_threads_and_processes_can_still_be_started(walled: Worker, task: Task) -> None:
    body = """
        import subprocess, threading
        done = []
        thread = threading.Thread(target=done.append, args=(1,))
        thread.start()
        thread.join()
        assert done == [1]
        assert subprocess.run(["true"]).returncode == 0
        return torch.softmax(x * self.weight, dim=-1)
    """
    verdict = walled.evaluate(task, kernel(body))
    assert verdict.status is Status.CORRECT, verdict.reasons


def test_a_user_has_a_name(walled: Worker, task: Task) -> None:
    # torch.compile names its cache after it, and fails where there is none.
    assert told(walled, task, "__import__('getpass').getuser()") == "kernel"


# While it is built it makes `a`, then runs `{change}`; later it tells what it finds of /etc.
BUILT = """
# cpp_extension
import ctypes, os, time
import torch
folder = os.environ["TORCH_EXTENSIONS_DIR"]
if open("/proc/self/comm").read().strip() == "kbexp-builder":
    os.mkdir(folder + "/a")
    for name in os.listdir("/etc"):
        with open(folder + "/a/" + name, "w") as file:
            file.truncate(2**19)
{change}
class ModelNew(torch.nn.Module):
    def __init__(self, cols):
        super().__init__()
        found = [open(os.path.join(at, name), "rb").read(1)
                 for at, _, names in os.walk(folder) for name in names]
        strange = sum(first != bytes(1) for first in found)
        raise ValueError(f"<<{{len(found)}} files, {{strange}} strange>>")
"""

SWAPS_LATER = """
    os.symlink("/etc", "/tmp/link")
    libc = ctypes.CDLL(None)
    opened = libc.inotify_init()
    libc.inotify_add_watch(opened, (folder + "/a").encode(), 0x20)
    if os.fork() == 0:
        os.setsid()
        os.read(opened, 4096)
        os.read(opened, 4096)
        libc.renameat2(-100, (folder + "/a").encode(), -100, b"/tmp/link", 2)
        time.sleep(60)
"""

SWAPS_ALL = """
    os.rename(folder, "/tmp/away")
    os.symlink("/etc", folder)
"""


@pytest.mark.parametrize(("change", "files"), [(SWAPS_LATER, True), (SWAPS_ALL, False)])
def test_a_build_cannot_have_other_files_copied(
    walled: Worker, task: Task, change: str, files: bool
) -> None:
    if not strong(walled):
        pytest.skip("nothing is copied at this level")
    verdict = walled.evaluate(task, Kernel(BUILT.format(change=change)))
    said = verdict.reasons[0]
    assert ", 0 strange>>" in said, verdict
    assert ("<<0 files" not in said) is files, verdict


def test_a_build_does_not_see_where_it_is_kept(walled: Worker, task: Task) -> None:
    if not strong(walled):
        pytest.skip("this level builds in place")
    looks = "    open(folder + '/a/' + str(os.path.exists('/.keep')), 'w').write('x')"
    seen = "{[name for name in os.listdir(folder + '/a') if name in ('True', 'False')]}"
    tells = BUILT.format(change=looks).replace("{len(found)}", seen)
    verdict = walled.evaluate(task, Kernel(tells))
    assert "'False'" in verdict.reasons[0], verdict
