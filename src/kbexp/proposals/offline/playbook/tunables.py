"""Tunables and forms of variants that many entries share. The ranges are wide on purpose."""

from __future__ import annotations

from kbexp.proposals.offline.playbook.entry import Slip, Tunable, Variant

THREADS = Tunable("THREADS", (1, 2, 4, 8, 16, 32, 64))
VECTOR_BITS = Tunable("VECTOR_BITS", (128, 256, 512))
REUSE = Tunable("REUSE", (0, 1))
CHUNK = Tunable("CHUNK", (1, 4, 16, 64, 256))
STREAM = Tunable("STREAM", (0, 1))
EXP_DEGREE = Tunable("EXP_DEGREE", (0, 4, 5, 6))
LANES = Tunable("LANES", (4, 8, 16, 32))
UNROLL = Tunable("UNROLL", (1, 2, 4, 8))
BLOCK = Tunable("BLOCK", (32, 64, 128, 256, 512, 1024))
ROWS = Tunable("ROWS", (8, 32, 128, 512, 2048))

WARPS = Tunable("WARPS", (1, 2, 4, 8, 16))
BLOCK_THREADS = Tunable("BLOCK", (32, 64, 128, 256, 512, 1024))
TRITON_BLOCK = Tunable("BLOCK", (128, 256, 512, 1024, 2048, 4096))


def cpu(source: str, about: str, *tunables: Tunable, slips: tuple[Slip, ...] = ()) -> Variant:
    """Return a variant in C or C++; `source` is a template, `folder/name.c` or `.cpp`."""
    folder, name, ending = _parts(source)
    return Variant(
        name=name,
        about=about,
        device="cpu",
        languages=("cpp",) if ending == "cpp" else ("c", "cpp"),
        module=f"{folder}/cpu.py.in",
        source=source,
        tunables=(THREADS, VECTOR_BITS, REUSE, *tunables),
        slips=slips,
    )


def plain_torch(
    module: str, about: str, *tunables: Tunable, slips: tuple[Slip, ...] = ()
) -> Variant:
    """Return a variant of torch's operators; `module` is a template, `folder/name_torch.py.in`."""
    name = _parts(module)[1].removesuffix("_torch")
    return Variant(f"{name}_torch", about, "any", ("torch",), module, "", tunables, slips)


def cuda(source: str, about: str, *tunables: Tunable, slips: tuple[Slip, ...] = ()) -> Variant:
    """Return a variant in CUDA C++: `folder/name.cu`, launched by `folder/name_cuda.py.in`."""
    folder, name, _ = _parts(source)
    return Variant(
        name=f"{name}_cuda",
        about=about,
        device="cuda",
        languages=("nvrtc", "cuda_inline"),
        module=f"{folder}/{name}_cuda.py.in",
        source=source,
        tunables=tunables,
        slips=slips,
    )


def triton(module: str, about: str, *tunables: Tunable, slips: tuple[Slip, ...] = ()) -> Variant:
    """Return a variant in Triton; `module` is a template, `folder/name_triton.py.in`."""
    name = _parts(module)[1].removesuffix("_triton")
    return Variant(f"{name}_triton", about, "cuda", ("triton",), module, "", tunables, slips)


def _parts(path: str) -> tuple[str, str, str]:
    folder, file = path.split("/")
    name, ending = file.split(".", 1)
    return folder, name, ending
