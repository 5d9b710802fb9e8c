"""Modules, functions and attributes that a kernel has no honest use for, and what they mean."""

from __future__ import annotations

from kbexp.worker.tripwire.words import names


def _meanings(table: dict[str, str]) -> dict[str, str]:
    """Return what every name means, from the names of every meaning."""
    return {name: meaning for meaning, text in table.items() for name in text.split()}


RISKY_MODULES = _meanings(
    {
        "walks the heap": "gc",
        "looks at its callers": "inspect",
        "starts threads": "threading _thread",
        "starts threads or processes": "concurrent",
        "leaves work to an event loop": "asyncio",
        "starts processes": "multiprocessing subprocess pty",
        "uses the network": "socket socketserver ssl http urllib ftplib requests httpx aiohttp",
        "reads code as data": "marshal",
        "decodes text": "base64 binascii codecs zlib bz2 lzma gzip",
        "reads objects as data": "pickle dill cloudpickle",
        "handles signals": "signal faulthandler",
        "acts when the process ends": "atexit",
        "traces processes": "ptrace",
        "maps memory": "mmap",
        "keeps data in files": "shelve sqlite3",
        "works on bytecode": "dis",
        "installs packages": "pip",
        "looks at processes": "psutil",
        "uses the evaluator's own code": "kbexp",
        "looks at the program around it": "__main__",
        "replaces parts of modules": "unittest.mock",
    }
)
"""Modules that a kernel has no honest use for, and what using one means."""

RISKY_PATHS = _meanings(
    {
        "looks at its callers": """
            sys._getframe sys._current_frames traceback.extract_stack traceback.walk_stack
            traceback.format_stack traceback.print_stack
            """,
        "traces the interpreter": "sys.settrace sys.setprofile",
        "looks at loaded modules": "sys.modules",
        "changes imports": "sys.meta_path sys.path",
        "ends its process": """
            sys.exit builtins.SystemExit builtins.exit builtins.quit os._exit os.abort
            """,
        "hooks the interpreter": "sys.addaudithook",
        "writes to a standard stream": "sys.stdout sys.__stdout__",
        "loads a module again": "importlib.reload",
        "builds bytecode": "types.CodeType",
        "builds functions": "types.FunctionType",
        "calls the interpreter's insides": "ctypes.pythonapi ctypes.PYFUNCTYPE",
        "reads memory by address": "ctypes.string_at ctypes.wstring_at",
        "starts processes": """
            os.fork os.forkpty os.posix_spawn os.posix_spawnp os.system os.popen
            torch.multiprocessing
            """,
        "signals processes": "os.kill os.killpg",
        "writes to a descriptor": "os.write os.writev os.pwrite",
        "reads from a descriptor": "os.read",
        "works on descriptors": "os.dup os.dup2 os.pipe os.fdopen os.fstat os.closerange",
        "looks at processes": "os.getppid",
        "sets the random seed": """
            torch.manual_seed torch.seed torch.cuda.manual_seed torch.cuda.manual_seed_all
            torch.set_rng_state torch.random.manual_seed
            """,
        "looks for the random seed": "torch.initial_seed torch.get_rng_state",
        "captures a CUDA graph, which replays on the addresses it saw": """
            torch.cuda.CUDAGraph torch.cuda.graph torch.cuda.make_graphed_callables
            """,
        "speaks to other processes": "torch.distributed",
        "leaves work to the background": "torch.futures torch.jit.fork",
        "steps between PyTorch and its operators": """
            torch.utils._python_dispatch.TorchDispatchMode torch.overrides.TorchFunctionMode
            """,
    }
)
"""Functions and attributes of harmless modules that a kernel has no honest use for."""

RISKY_PREFIXES = ("os.exec", "os.spawn")

RISKY_ATTRIBUTES = _meanings(
    {
        "looks at its callers": "tb_frame f_back f_locals f_globals f_code gi_frame",
        "works on a function's insides": "__code__ __globals__ __closure__",
        "works on the interpreter's names": "__builtins__",
        "walks all classes": "__subclasses__",
        "works on the import system": "__loader__",
        "makes a tensor that is not plain": "_make_subclass _make_wrapper_subclass as_subclass",
        "reads memory by address": "from_address",
        "ends its process": "_exit",
    }
)
"""Attributes that are suspicious on any object."""

CLOCKS = names(
    """
    time.time time.time_ns time.perf_counter time.perf_counter_ns time.monotonic
    time.monotonic_ns time.process_time time.process_time_ns time.sleep timeit.default_timer
    torch.cuda.Event
    """
)
"""What measures or passes time: no business of a forward."""

FILE_WRITERS = names(
    """
    torch.save torch.load numpy.save numpy.savez numpy.load numpy.fromfile numpy.memmap
    torch.from_file os.open os.remove os.unlink os.rename os.replace os.mkdir os.makedirs
    shutil.copy shutil.copyfile shutil.move shutil.rmtree tempfile.NamedTemporaryFile
    tempfile.TemporaryDirectory tempfile.mkstemp tempfile.mkdtemp tempfile.TemporaryFile io.open
    builtins.open
    """
)
"""Functions that work on files."""

FILE_METHODS = names(
    """
    write_text write_bytes read_text read_bytes tofile
    """
)
