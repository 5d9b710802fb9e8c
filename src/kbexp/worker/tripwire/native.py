"""A look at C, C++ and CUDA text: operators of libraries, narrower types, and what is suspicious.

Comments go first; macros that paste tokens together are expanded once:
`A(cudaStream, Create)` is how a name is hidden from a search.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kbexp.worker.tripwire import words

MAX_TEXT = 300_000
MAX_PASTED = 200

_LOOKS_NATIVE = re.compile(
    r'#\s*include|__global__|__device__|extern\s+"C"|TORCH_LIBRARY|PYBIND11_MODULE|#\s*define'
    r"|\b(?:void|float|int|double|static|template|at::Tensor|torch::Tensor)\b[^\n]{0,200}\("
)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_MATRIX_REGISTERS = re.compile(r"\bsyscall\s*\(\s*(?:SYS|__NR)_arch_prctl\b")
_CONTINUED = re.compile(r"\\\n")
_ADJACENT = re.compile(r'"[ \t\n]{0,40}"')
_PASTING = re.compile(r"#[ \t]*define[ \t]+(\w+)\(([^)\n]{0,200})\)([^\n]*##[^\n]*)")

_OPERATOR = re.compile(r"\b(?:at|torch|c10|F)::(?:\w+::){0,3}([a-z]\w*)\s*\(")
_METHOD = re.compile(
    r"(?:\.|->)(matmul|mm|bmm|addmm|baddbmm|addmv|softmax|log_softmax|einsum|conv1d|conv2d|conv3d"
    r"|layer_norm|cumsum|cumprod|logsumexp)_?\s*\("
)
_LIBRARY = re.compile(
    r"\b(cublas\w*(?:[Gg]emm|[Gg]emv|[Dd]ot|[Mm]atmul|[Tt]rsm|[Ss]yrk|[Aa]xpy|[Ss]cal|[Nn]rm2)\w*"
    r"|cudnn\w*(?:Forward|Backward|Convolution|Softmax|Execute|OpTensor|ReduceTensor)\w*"
    r"|cusparseSp\w+|cufftExec\w+|cusolver\w*(?:trf|trs|vd)\w*|cblas_\w+|[sdcz]gemm_|[sdcz]gemv_"
    r"|dnnl_\w*(?:gemm|execute)\w*|vs(?:Exp|Tanh|Mul|Add)|vms\w+)\s*\("
)
_NARROW = re.compile(
    r"\b(__half2?|half2|__nv_bfloat16\d?|__nv_bfloat162|nv_bfloat16|_Float16|__fp16|__bf16|BFloat16"
    r"|kHalf|kBFloat16|cuda_fp16|cuda_bf16|cuda_fp8|__nv_fp8\w*|_tile_dpbf16ps|_mm\w*_dpbf16_ps"
    r"|_mm\w*_cvtne2?ps_pbh|_mm\w*_cvtps_ph|vcvt\w*_f16_f32|tf32|allow_tf32|setAllowTF32\w*"
    r"|CUBLAS_COMPUTE_32F_FAST\w*|CUBLAS_TF32\w*)\b|(?:\.|::)(tf32|bf16|f16)\b"
)

_RULES: tuple[tuple[str, str], ...] = (
    (r"ptrace|process_vm_(?:readv|writev)", "touches other processes"),
    (r"dlsym|dlvsym|dlopen|dl_iterate_phdr|link_map", "looks up functions at run time"),
    (r"mprotect|pkey_mprotect|PROT_EXEC|mremap", "changes the protection of memory"),
    (r"LD_PRELOAD|LD_AUDIT", "loads libraries into programs"),
    (r"fork|vfork|posix_spawn\w*|popen|execve?|execvp?e?|execlp?|system", "starts processes"),
    (r"pthread_create|thrd_create|clone3?|jthread", "starts threads"),
    (r"socket|getaddrinfo|inet_pton|sendto|recvfrom", "uses the network"),
    (r"syscall|__NR_\w+|SYS_\w+", "makes system calls of its own"),
    (r"_exit|_Exit|quick_exit|exit|abort|raise|kill|tgkill|longjmp", "ends or signals its process"),
    (r"signal|sigaction|setitimer|atexit|at_quick_exit", "hooks the process"),
    (r"environ|getenv|secure_getenv", "reads the environment"),
    (r"fopen|freopen|openat|fwrite|ofstream|ifstream|fstream|shm_open|memfd_create", "uses files"),
    (r"Py_\w+|PyObject\w*|PyRun\w*|PyEval\w*|PyGILState\w*|PyFrame\w*", "works on the interpreter"),
    (r"cudaStreamAttributeAccessPolicyWindow|accessPolicyWindow|cudaLimitPersistingL2CacheSize"
     r"|CU_STREAM_ATTRIBUTE_ACCESS_POLICY_WINDOW|cudaAccessPropertyPersisting"
     r"|CU_LIMIT_PERSISTING_L2_CACHE_SIZE", "keeps data in the L2 cache"),
    (r"cudaGraphLaunch|cudaStreamBeginCapture|cuGraphLaunch",
     "captures a CUDA graph, which replays on the addresses it saw"),
    (r"cudaEventElapsedTime\w*|cuEventElapsedTime\w*|clock_gettime|gettimeofday|steady_clock"
     r"|high_resolution_clock|system_clock|__rdtscp?", "reads the clock"),
    (r"cudaIpc\w+|cuIpc\w+", "opens memory of other processes"),
)  # fmt: skip
_CALLED_ONLY = words.names(
    """
    fork vfork clone clone3 system exit abort raise kill signal socket syscall execv execl exec
    execve execvp execlp _exit popen environ
    """
)
"""Words that mean something only where they are called: they are fine names for variables."""
_WORDS = re.compile(r"\b(?:" + "|".join(f"({pattern})" for pattern, _ in _RULES) + r")\b")
_PLACES = re.compile(r"/proc/|/proc\b|/dev/(?!null)|/sys/")
_CONSTRUCTOR = re.compile(r"__attribute__\s*\(\(\s*(?:constructor|destructor|ifunc|alias)")
_KEYED = re.compile(
    r"(?:unordered_)?map\s*<\s*(?:const\s+)?(?:void|float|double|char|int|uintptr_t|std::uintptr_t)"
    r"\s*(?:const\s*)?(?:\*|,)[^;\n]{0,200}|static\b[^;\n]{0,80}\*\s*\w*(?:last|prev|cached|seen)\w*"
)
_STREAM = re.compile(r"\b(?:cudaStreamCreate\w*|cuStreamCreate\w*|getStreamFromPool)\b")
_JOIN = re.compile(
    r"\b(?:cudaStreamSynchronize|cudaStreamWaitEvent|cudaDeviceSynchronize|cuStreamSynchronize"
    r"|cuStreamWaitEvent|cudaEventSynchronize)\b|\.synchronize\s*\(|\.block\s*\("
)
_THREAD = re.compile(r"\bstd::(?:thread|async|jthread)\b")
_OVERRIDES = re.compile(
    r"\b(clock_gettime|gettimeofday|cudaEventElapsedTime\w*|cudaEventRecord\w*|cudaLaunchKernel\w*"
    r"|cudaStreamSynchronize|cudaDeviceSynchronize|cuEventRecord|memcmp|memcpy|malloc)"
    r"\s*\([^;{}()]{0,200}\)\s*\{"
)


@dataclass(slots=True)
class Native:
    """What native text holds, each with its line in the kernel."""

    operators: dict[str, int] = field(default_factory=dict)
    narrow: dict[str, int] = field(default_factory=dict)
    suspicions: list[tuple[int, str]] = field(default_factory=list)


def looks_native(text: str) -> bool:
    """True where a text in a kernel seems to be C, C++ or CUDA, and not a name or a message."""
    return len(text) > 40 and _LOOKS_NATIVE.search(text[:MAX_TEXT]) is not None


def look_native(text: str, line: int) -> Native:
    """Look at a text whose first line is the kernel's line `line`."""
    found = Native()
    plain = _plain(text[:MAX_TEXT])
    # Where nothing is pasted, offsets are lines of the kernel; what was pasted has no line.
    lines = _Lines(plain, line)
    whole = plain + _pasted(plain)
    for match in _OPERATOR.finditer(whole):
        if match[1].strip("_") in words.COMPUTE:
            found.operators.setdefault(match[0].rstrip(" \t\n("), lines.at(match.start()))
    for match in _METHOD.finditer(whole):
        found.operators.setdefault(f"Tensor.{match[1]}", lines.at(match.start()))
    for match in _LIBRARY.finditer(whole):
        found.operators.setdefault(match[1], lines.at(match.start()))
    for match in _NARROW.finditer(whole):
        found.narrow.setdefault(match[1] or match[2], lines.at(match.start()))
    _suspicions(whole, lines, found)
    return found


def _suspicions(whole: str, lines: _Lines, found: Native) -> None:
    add = found.suspicions.append
    for match in _WORDS.finditer(whole):
        word = match[0]
        if word in _CALLED_ONLY and not re.match(r"\s*\(", whole[match.end() : match.end() + 20]):
            continue
        if whole[max(0, match.start() - 1)] == "." or len(found.suspicions) > 60:
            continue
        assert match.lastindex is not None
        add((lines.at(match.start()), f"{word} in native text {_RULES[match.lastindex - 1][1]}"))
    for pattern, text in (
        (_PLACES, "native text names a path of the system"),
        (_CONSTRUCTOR, "native text runs or replaces code when it is loaded"),
        (_KEYED, "native text keeps something by address"),
        (_OVERRIDES, "native text replaces a function of the system"),
    ):
        at = pattern.search(whole)
        if at is not None:
            add((lines.at(at.start()), f"{text}: {' '.join(at[0].split())[:60]}"))
    stream = _STREAM.search(whole)
    if stream is not None and not _JOIN.search(whole):
        add(
            (
                lines.at(stream.start()),
                f"{stream[0]} in native text makes a stream nobody waits for",
            )
        )
    thread = _THREAD.search(whole)
    joined = ".join()" in whole or ".get()" in whole or ".wait()" in whole
    if thread is not None and (".detach()" in whole or not joined):
        add((lines.at(thread.start()), f"{thread[0]} in native text is not waited for"))
    library = re.search(r"TORCH_LIBRARY_IMPL\s*\(\s*aten\b", whole)
    if library is not None:
        add((lines.at(library.start()), "native text replaces an operator of PyTorch"))


def _plain(text: str) -> str:
    """Return a text without comments and continued lines, with every line where it was."""
    text = _COMMENT.sub(lambda match: "\n" * match[0].count("\n") or " ", text)
    text = _CONTINUED.sub(" ", text)
    # Linux gives matrix registers to who asks by this call: there is no other way.
    text = _MATRIX_REGISTERS.sub("arch_prctl(", text)
    return _ADJACENT.sub("", text)


def _pasted(text: str) -> str:
    """Return what macros that paste tokens come to where they are used."""
    if "##" not in text:
        return ""
    results: list[str] = []
    for macro in list(_PASTING.finditer(text))[:50]:
        names = [name.strip() for name in macro[2].split(",")]
        uses = re.finditer(rf"\b{re.escape(macro[1])}\s*\(([^()\n]{{0,200}})\)", text)
        for _, use in zip(range(MAX_PASTED), uses, strict=False):
            given = [part.strip() for part in use[1].split(",")]
            body = macro[3]
            for name, part in zip(names, given, strict=False):
                if name:
                    body = re.sub(rf"\b{re.escape(name)}\b", lambda _, part=part: part, body)
            results.append(re.sub(r"\s*##\s*", "", body) + "(")  # It may well be called.
    return "\n" + "\n".join(results)[:MAX_TEXT]


class _Lines:
    """Line numbers of offsets in a text."""

    def __init__(self, text: str, first: int) -> None:
        self._text = text
        self._first = first

    def at(self, offset: int) -> int:
        return self._first + self._text.count("\n", 0, min(offset, len(self._text)))
