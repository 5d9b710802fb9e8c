"""Modules, functions and attributes that a kernel has no honest use for, and what they mean."""

from __future__ import annotations

from kbexp.worker.tripwire.words import names

RISKY_MODULES = {
    "gc": "walks the heap",
    "inspect": "looks at its callers",
    "threading": "starts threads",
    "_thread": "starts threads",
    "concurrent": "starts threads or processes",
    "asyncio": "leaves work to an event loop",
    "multiprocessing": "starts processes",
    "subprocess": "starts processes",
    "pty": "starts processes",
    "socket": "uses the network",
    "socketserver": "uses the network",
    "ssl": "uses the network",
    "http": "uses the network",
    "urllib": "uses the network",
    "ftplib": "uses the network",
    "requests": "uses the network",
    "httpx": "uses the network",
    "aiohttp": "uses the network",
    "marshal": "reads code as data",
    "base64": "decodes text",
    "binascii": "decodes text",
    "codecs": "decodes text",
    "zlib": "decodes text",
    "bz2": "decodes text",
    "lzma": "decodes text",
    "gzip": "decodes text",
    "pickle": "reads objects as data",
    "dill": "reads objects as data",
    "cloudpickle": "reads objects as data",
    "signal": "handles signals",
    "atexit": "acts when the process ends",
    "faulthandler": "handles signals",
    "ptrace": "traces processes",
    "mmap": "maps memory",
    "shelve": "keeps data in files",
    "sqlite3": "keeps data in files",
    "dis": "works on bytecode",
    "pip": "installs packages",
    "psutil": "looks at processes",
    "kbexp": "uses the evaluator's own code",
    "__main__": "looks at the program around it",
    "unittest.mock": "replaces parts of modules",
}
"""Modules that a kernel has no honest use for, and what using one means."""

RISKY_PATHS = {
    "sys._getframe": "looks at its callers",
    "sys._current_frames": "looks at its callers",
    "sys.settrace": "traces the interpreter",
    "sys.setprofile": "traces the interpreter",
    "sys.modules": "looks at loaded modules",
    "sys.meta_path": "changes imports",
    "sys.path": "changes imports",
    "sys.exit": "ends its process",
    "sys.addaudithook": "hooks the interpreter",
    "sys.stdout": "writes to a standard stream",
    "sys.__stdout__": "writes to a standard stream",
    "builtins.SystemExit": "ends its process",
    "builtins.exit": "ends its process",
    "builtins.quit": "ends its process",
    "importlib.reload": "loads a module again",
    "traceback.extract_stack": "looks at its callers",
    "traceback.walk_stack": "looks at its callers",
    "traceback.format_stack": "looks at its callers",
    "traceback.print_stack": "looks at its callers",
    "types.CodeType": "builds bytecode",
    "types.FunctionType": "builds functions",
    "ctypes.pythonapi": "calls the interpreter's insides",
    "ctypes.PYFUNCTYPE": "calls the interpreter's insides",
    "ctypes.string_at": "reads memory by address",
    "ctypes.wstring_at": "reads memory by address",
    "os.fork": "starts processes",
    "os.forkpty": "starts processes",
    "os.posix_spawn": "starts processes",
    "os.posix_spawnp": "starts processes",
    "os.system": "starts processes",
    "os.popen": "starts processes",
    "os._exit": "ends its process",
    "os.abort": "ends its process",
    "os.kill": "signals processes",
    "os.killpg": "signals processes",
    "os.write": "writes to a descriptor",
    "os.writev": "writes to a descriptor",
    "os.pwrite": "writes to a descriptor",
    "os.read": "reads from a descriptor",
    "os.dup": "works on descriptors",
    "os.dup2": "works on descriptors",
    "os.pipe": "works on descriptors",
    "os.fdopen": "works on descriptors",
    "os.fstat": "works on descriptors",
    "os.closerange": "works on descriptors",
    "os.getppid": "looks at processes",
    "torch.manual_seed": "sets the random seed",
    "torch.seed": "sets the random seed",
    "torch.cuda.manual_seed": "sets the random seed",
    "torch.cuda.manual_seed_all": "sets the random seed",
    "torch.set_rng_state": "sets the random seed",
    "torch.random.manual_seed": "sets the random seed",
    "torch.initial_seed": "looks for the random seed",
    "torch.get_rng_state": "looks for the random seed",
    "torch.cuda.CUDAGraph": "captures a CUDA graph, which replays on the addresses it saw",
    "torch.cuda.graph": "captures a CUDA graph, which replays on the addresses it saw",
    "torch.cuda.make_graphed_callables": (
        "captures a CUDA graph, which replays on the addresses it saw"
    ),
    "torch.multiprocessing": "starts processes",
    "torch.distributed": "speaks to other processes",
    "torch.futures": "leaves work to the background",
    "torch.jit.fork": "leaves work to the background",
    "torch.utils._python_dispatch.TorchDispatchMode": "steps between PyTorch and its operators",
    "torch.overrides.TorchFunctionMode": "steps between PyTorch and its operators",
}
"""Functions and attributes of harmless modules that a kernel has no honest use for."""

RISKY_PREFIXES = ("os.exec", "os.spawn")

RISKY_ATTRIBUTES = {
    "tb_frame": "looks at its callers",
    "f_back": "looks at its callers",
    "f_locals": "looks at its callers",
    "f_globals": "looks at its callers",
    "f_code": "looks at its callers",
    "gi_frame": "looks at its callers",
    "__code__": "works on a function's insides",
    "__globals__": "works on a function's insides",
    "__closure__": "works on a function's insides",
    "__builtins__": "works on the interpreter's names",
    "__subclasses__": "walks all classes",
    "__loader__": "works on the import system",
    "_make_subclass": "makes a tensor that is not plain",
    "_make_wrapper_subclass": "makes a tensor that is not plain",
    "as_subclass": "makes a tensor that is not plain",
    "from_address": "reads memory by address",
    "_exit": "ends its process",
}
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
