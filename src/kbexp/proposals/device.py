"""What a kernel's author should know about the device, and the languages it can run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kbexp.config import GpuConfig, Provider
from kbexp.errors import KbexpError

CPU_LANGUAGES = ("torch", "c", "cpp")
CUDA_LANGUAGES = ("torch", "triton", "nvrtc", "cuda_inline")
LANGUAGES = ("torch", "c", "cpp", "cuda_inline", "nvrtc", "triton")

# Triton compiles for Volta and later.
_TRITON_CAPABILITY = (7, 0)
# Flags of /proc/cpuinfo that decide how a loop is written.
_VECTOR_FLAGS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "neon",
    "asimd",
    "sve",
)


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """Facts about one device; None, 0 and () are "not known".

    `kind` is cpu or cuda. Rates are the vendor's peaks: bytes a second, and operations a second
    by type. `cores` are those that one process may use, `features` a CPU's vector extensions.
    """

    name: str
    kind: str
    compute_capability: str | None = None
    memory_bytes: int | None = None
    memory_bytes_per_s: float | None = None
    peak_flops: tuple[tuple[str, float], ...] = ()
    cores: int = 0
    features: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the facts for a prompt, one a line."""
        lines = []
        if self.compute_capability:
            lines.append(f"compute capability: {self.compute_capability}")
        if self.cores:
            lines.append(f"cores: {self.cores}")
        if self.features:
            lines.append(f"vector extensions: {', '.join(self.features)}")
        if self.memory_bytes:
            lines.append(f"memory: {self.memory_bytes / 2**30:.4g} GiB")
        if self.memory_bytes_per_s:
            lines.append(f"peak memory bandwidth: {self.memory_bytes_per_s / 1e9:.4g} GB/s")
        for kind, rate in self.peak_flops:
            lines.append(f"peak {kind}: {rate / 1e12:.4g} TFLOP/s")
        return lines or [f"kind: {self.kind}"]


def device_facts(config: GpuConfig) -> DeviceFacts:
    """Return what the settings say of a device, and of this machine's CPU what it says itself."""
    here = Provider(config.provider) is Provider.cpu
    cores, features, model = _this_cpu() if here else (0, (), "")
    return DeviceFacts(
        name=config.device_name or model or config.name,
        kind="cpu" if config.is_cpu else "cuda",
        compute_capability=config.compute_capability,
        memory_bytes=config.memory_bytes,
        memory_bytes_per_s=config.memory_bytes_per_s,
        peak_flops=tuple((str(kind), float(rate)) for kind, rate in config.peak_flops.items()),
        cores=cores,
        features=features,
    )


def allowed_languages(setting: str, facts: DeviceFacts) -> tuple[str, ...]:
    """Return the languages that `llm.language` allows on a device; `auto` is all it can run.

    Raises KbexpError for an unknown language and for one that the device cannot run.
    """
    runs: tuple[str, ...] = CPU_LANGUAGES if facts.kind == "cpu" else CUDA_LANGUAGES
    if facts.kind != "cpu" and _capability(facts) < _TRITON_CAPABILITY:
        runs = tuple(language for language in runs if language != "triton")
    if setting == "auto":
        return runs
    if setting not in LANGUAGES:
        raise KbexpError(
            f"llm.language={setting} is not a language: use auto, {', '.join(LANGUAGES)}."
        )
    if setting not in runs:
        raise KbexpError(
            f"llm.language={setting} does not run on {facts.name}: use auto, {', '.join(runs)}."
        )
    return (setting,)


def _capability(facts: DeviceFacts) -> tuple[int, int]:
    """Return (major, minor); a capability that is not known is taken to be a current one."""
    major, _, minor = (facts.compute_capability or "").strip("abf").partition(".")
    if not major.isdigit():
        return (99, 0)
    return int(major), int(minor) if minor.isdigit() else 0


def _this_cpu() -> tuple[int, tuple[str, ...], str]:
    """Return the usable cores, vector extensions and model name of this machine's CPU."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return cores, (), ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    flags = set((fields.get("flags") or fields.get("features") or "").split())
    features = tuple(flag for flag in _VECTOR_FLAGS if flag in flags)
    return cores, features, fields.get("model name", "")
