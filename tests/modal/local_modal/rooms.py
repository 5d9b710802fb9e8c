"""What a container finds: an interpreter, its files, its environment.

The interpreter is an environment of its own that sees the installed libraries, and of editable
installs nothing: their `.pth` files are not read a second time. What a function did not mount is
therefore missing, as it would be at Modal. Files lie under a root of their own, whose `/root` is
the home, the working directory and the PYTHONPATH.

A container has no file system of its own. Where a variable of the environment is the mount path of
a volume, it names the container's view of that volume instead. As at Modal, others see what is
written there once it is committed, and a container sees what others have committed once it reloads.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

from modal_proto import api_pb2

from local_modal.state import Container, Function
from local_modal.world import World

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
ENV_LINE = re.compile(r"ENV\s+(\S+?)=(.*)")
COPY_LINE = re.compile(r"COPY \. (\S+)")


def make_interpreter(folder: Path) -> Path:
    """Make the environment that all containers' interpreters are of; returns its program."""
    packages = folder / "lib" / PYTHON / "site-packages"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    (folder / "pyvenv.cfg").write_text(
        f"home = {base.parent}\ninclude-system-site-packages = false\n"
    )
    program = folder / "bin" / "python"
    program.symlink_to(base)
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "installed.pth").write_text("".join(f"{path}\n" for path in sorted(paths)))
    return program


def make_root(world: World, function: Function) -> Path:
    """Lay out the files of a function's image and mounts, once for all that are alike."""
    state = world.state
    layers = [(remote, state.mounts[mount]) for mount, remote in _copied(world, function)]
    layers += [("/", state.mounts[mount_id]) for mount_id in function.definition.mount_ids]
    names = [(to, f.filename, f.sha256_hex) for to, files in layers for f in files]
    key = hashlib.sha256(repr(names).encode()).hexdigest()[:12]
    root = state.folder / "roots" / key
    if root.exists():
        return root
    (root / "root").mkdir(parents=True)
    for to, files in layers:
        for file in files:
            path = root / to.lstrip("/") / file.filename.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(world.store.path(file.sha256_hex), path)
            if file.mode:
                path.chmod(file.mode & 0o777 | 0o600)
    return root


def _images(world: World, function: Function) -> list[api_pb2.Image]:
    """The layers of a function's image, the lowest first."""
    layers: list[api_pb2.Image] = []
    image_id = function.definition.image_id
    while image_id in world.state.images:
        image = world.state.images[image_id]
        layers.insert(0, image)
        image_id = image.base_images[0].image_id if image.base_images else ""
    return layers


def _copied(world: World, function: Function) -> list[tuple[str, str]]:
    """Mounts that were copied into the image, each with where to."""
    found = []
    for image in _images(world, function):
        for line in image.dockerfile_commands:
            if image.context_mount_id and (match := COPY_LINE.fullmatch(line)):
                found.append((image.context_mount_id, match[1]))
    return found


def environment(world: World, container: Container) -> dict[str, str]:
    """What Modal gives a container, what the image and secrets add, and nothing of the client's."""
    state, function, folder = world.state, container.function, container.folder
    root = make_root(world, function)
    variables = {
        "PATH": f"{state.folder / 'python' / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(root / "root"),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(root / "root"),
        "TMPDIR": str(folder / "tmp"),
        "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_LOCAL",
        "MODAL_REGION": "local",
        "MODAL_ENVIRONMENT": state.apps[function.app_id].environment,
        "MODAL_IMAGE_ID": function.definition.image_id,
        "MODAL_TASK_ID": container.task_id,
        "MODAL_IS_REMOTE": "1",
        "MODAL_SERVER_URL": f"unix://{folder / 'socket'}",
        "MODAL_CONTAINER_ARGUMENTS_PATH": str(folder / "arguments"),
    }
    for image in _images(world, function):
        for line in image.dockerfile_commands:
            if match := ENV_LINE.fullmatch(line):
                value = " ".join(shlex.split(match[2]))
                if "$" not in value:  # Additions to the PATH of programs that are not here.
                    variables[match[1]] = value
    for secret_id in function.definition.secret_ids:
        variables.update(state.secrets[secret_id])
    seen = {m.mount_path: container.volumes[m.volume_id] for m in function.definition.volume_mounts}
    return {name: str(seen.get(value, value)) for name, value in variables.items()}


def mount_volumes(world: World, container: Container) -> None:
    """Give a container its view of each of its volumes, as they are now."""
    for mount in container.function.definition.volume_mounts:
        view = container.folder / "volumes" / mount.volume_id
        view.mkdir(parents=True)
        container.volumes[mount.volume_id] = view
        bring(world.state.volumes[mount.volume_id].folder, view)


def bring(source: Path, target: Path) -> None:
    """Copy what the target lacks or has in another version; each file appears as a whole."""
    for path in sorted(source.rglob("*")):
        there = target / path.relative_to(source)
        if path.is_dir():
            there.mkdir(parents=True, exist_ok=True)
        elif not there.exists() or there.stat().st_mtime_ns != path.stat().st_mtime_ns:
            new = there.with_name(there.name + ".coming")
            shutil.copy2(path, new)
            new.rename(there)
