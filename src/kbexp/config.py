"""Schemas of the configuration groups: names, types and defaults of every setting.

Plain dataclasses with no import of Hydra, so that the worker can use them on a bare machine.
`"???"` is a value that must be given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kbexp.search_config import AlgorithmConfig, SearchConfig


class Provider(StrEnum):
    """Where kernels are judged."""

    cpu = "cpu"
    local = "local"
    modal = "modal"


class SizeClass(StrEnum):
    """Which of a bundled task's sizes is used."""

    cpu = "cpu"
    gpu = "gpu"


@dataclass
class ImageConfig:
    """What a rented container is made of: `base`, or Debian with Python where that is empty.

    `packages` are what a worker needs, at the versions of `constraints.txt`; `extra_index_url` is
    where they are looked for beside PyPI. A CUDA base has to have the compiler (`devel`) and the
    major version of CUDA that the packages were built for.
    """

    base: str = "nvidia/cuda:13.0.1-devel-ubuntu24.04"
    python: str = "3.12"
    packages: list[str] = field(
        default_factory=lambda: ["torch==2.13.0", "numpy==2.4.6", "ninja==1.13.2"]
    )
    system_packages: list[str] = field(default_factory=lambda: ["build-essential"])
    extra_index_url: str | None = None


@dataclass
class ContainerConfig:
    """A rented container beside its device: processor cores, main memory, and what they cost.

    Both are what is asked for; more may be used, and paid for. `startup_timeout_s` is how long a
    container may take to become warm.
    """

    cores: float = 4.0
    memory_bytes: int = 16 * 2**30
    core_usd_per_s: float = 0.0000131
    gib_usd_per_s: float = 0.00000222
    startup_timeout_s: int = 600
    image: ImageConfig = field(default_factory=ImageConfig)


@dataclass
class GpuConfig:
    """A device. Rates are the vendor's peaks: bytes a second, and operations a second by type.

    `source` says where the peaks and the price come from; None is "not known". `own_names` are
    what such devices call themselves: the peaks hold for a device that bears one of these names.

    Of a rented device, up to `count` containers judge at the same time, and one that is idle ends
    after `idle_timeout_s`. With `deployed` they belong to an app that outlives the run. Extensions
    are compiled ahead in up to `builders` containers without a device; with 0, beside it.
    """

    name: str = "???"
    provider: Provider = Provider.cpu
    device_name: str = ""
    own_names: list[str] = field(default_factory=list)
    compute_capability: str | None = None
    count: int = 1
    deployed: bool = False
    idle_timeout_s: int = 600
    builders: int = 0
    sizes: SizeClass = SizeClass.cpu
    price_usd_per_s: float = 0.0
    price_date: str | None = None
    memory_bytes: int | None = None
    memory_bytes_per_s: float | None = None
    peak_flops: dict[str, float] = field(default_factory=dict)
    source: str = ""
    container: ContainerConfig = field(default_factory=ContainerConfig)

    @property
    def is_cpu(self) -> bool:
        """True where kernels run on a processor: this machine's, or one that is rented bare."""
        return self.provider == Provider.cpu or (
            self.provider == Provider.modal and not self.device_name
        )

    @property
    def usd_per_s(self) -> float:
        """What a second costs: that of the device, and of the container around a rented one."""
        if self.provider != Provider.modal:
            return self.price_usd_per_s
        return self.price_usd_per_s + self.container_usd_per_s

    @property
    def container_usd_per_s(self) -> float:
        """What a second of a container without its device costs."""
        box = self.container
        return box.cores * box.core_usd_per_s + box.memory_bytes / 2**30 * box.gib_usd_per_s


@dataclass
class TaskConfig:
    """A task and where it comes from: `kind` is bundled, file, kernelbench or kernelbench_matmul.

    `sizes` overrides module-level constants of the task's source by name. The best kernels of a
    run are also judged at every one of `confirm_sizes`, each of which overrides more of them.
    """

    name: str = "???"
    kind: str = "bundled"
    path: str | None = None
    root: str | None = None
    dataset: str = "ScalingIntelligence/KernelBench"
    level: int | None = None
    problem: int | None = None
    index: int | None = None
    sizes: dict[str, Any] = field(default_factory=dict)
    confirm_sizes: list[dict[str, Any]] = field(default_factory=list)


class ModelChoice(StrEnum):
    """Which of several models is asked: by fixed weights, or by what their proposals brought."""

    weights = "weights"
    bandit = "bandit"


@dataclass
class ModelConfig:
    """One of several models; `name` is what the journal calls it, its `model` by default.

    What is None is as `llm` has it: waits, limits, temperature and effort always, address and key
    where the provider is the same. Prices and `extra` are this model's own.
    """

    model: str = "???"
    name: str | None = None
    weight: float = 1.0
    api_base: str | None = None
    api_key_env: str | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None
    max_tokens: int | None = None
    input_usd_per_mtok: float | None = None
    cached_input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class LlmConfig:
    """A model behind LiteLLM. Prices are dollars a million tokens, for models LiteLLM has none of.

    `api_key_env` names the environment variable that holds the key; the key itself is never in
    the configuration. `optimizer` is the Trace optimizer that writes the question. Waits between
    retries double from `retry_initial_s`; none is longer than `retry_max_s`. Where there are
    `models`, they take the place of `model`, and `choice` says which one is asked. Files in
    `prompt_dir` take the place of the texts of the same names. `path` is the folder of the run
    whose answers `llm=replay` repeats.
    """

    name: str = "???"
    model: str = "???"
    optimizer: str = "optoprime"
    api_base: str | None = None
    api_key_env: str | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None
    max_tokens: int = 8192
    timeout_s: float = 300.0
    max_retries: int = 5
    retry_initial_s: float = 1.0
    retry_max_s: float = 60.0
    input_usd_per_mtok: float | None = None
    cached_input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    prompt_cache: bool = True
    language: str = "auto"
    prompt_dir: str | None = None
    models: list[ModelConfig] = field(default_factory=list)
    choice: ModelChoice = ModelChoice.weights
    path: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class Policy(StrEnum):
    """What counts as a kernel: anything that is right; no operators of the library; no doubt."""

    any = "any"
    no_library = "no_library"
    strict = "strict"


class Isolation(StrEnum):
    """The walls around a kernel: the strongest that stands, or one that must."""

    auto = "auto"
    namespaces = "namespaces"
    user_namespaces = "user_namespaces"
    process = "process"


class FaultyTasks(StrEnum):
    """What becomes of a task on which an answer that took no work passes."""

    mark = "mark"
    refuse = "refuse"


class Profile(StrEnum):
    """What takes a profile of a correct kernel once it was timed; `none` takes none."""

    none = "none"
    torch = "torch"


@dataclass
class EvaluatorConfig:
    """How a kernel is judged.

    Correctness is checked on `correctness_trials` fresh inputs. Timing alternates blocks of
    reference and kernel, each about `block_ms` long and of at most `max_calls` calls, for at least
    `min_pairs` and at most `max_pairs` pairs of blocks; it ends early when the interval of the
    speedup is narrower than `target_width` (a share of the speedup) or `timing_s` has gone by.
    Where the device counts its energy, the kernel is then called alone for `energy_s` seconds.
    `policy` says what is rejected for how it is written, before it runs. Where zeros, a constant
    or an input pass as a task's answer, or it does not depend on what the reference works with,
    `faulty_tasks` has every verdict say so, or ends the run.
    `profile` says what a model is told of where a kernel's time goes.
    """

    name: str = "???"
    correctness_trials: int = 3
    min_pairs: int = 8
    max_pairs: int = 20
    block_ms: float = 10.0
    max_calls: int = 25
    target_width: float = 0.03
    timing_s: float = 3.0
    energy_s: float = 0.0
    build_timeout_s: float = 180.0
    run_timeout_s: float = 60.0
    memory_bytes: int = 8 * 2**30
    isolation: Isolation = Isolation.auto
    policy: Policy = Policy.any
    faulty_tasks: FaultyTasks = FaultyTasks.mark
    profile: Profile = Profile.none
    cache: bool = True
    cache_dir: str | None = None


@dataclass
class BudgetConfig:
    """Limits of a run, whichever is reached first; None is no limit.

    A limit in dollars cannot be held where a price is unknown; `allow_unknown_price` runs on then,
    with the calls that have no price uncounted.
    """

    name: str = "???"
    evaluations: int | None = None
    proposals: int | None = None
    wall_s: float | None = None
    llm_usd: float | None = None
    gpu_usd: float | None = None
    allow_unknown_price: bool = False


@dataclass
class LoggerConfig:
    """Which trackers read the journal."""

    name: str = "???"
    mlflow: bool = False
    wandb: bool = False
    mlflow_uri: str = "sqlite:///outputs/mlflow.db"
    wandb_mode: str = "offline"
    console: str = "auto"


class Metric(StrEnum):
    """What a search can maximise by name; `kbexp.score` says what each of them is."""

    speedup = "speedup"
    speedup_low = "speedup_low"
    inverse_runtime = "inverse_runtime"
    bandwidth = "bandwidth"
    share_of_bound = "share_of_bound"
    energy = "energy"
    peak_memory = "peak_memory"


@dataclass
class ConfirmEvaluatorConfig:
    """The evaluator's settings for judging the best kernels again.

    None takes twice the trials, pairs and time of the run's own evaluator, and half its width.
    """

    correctness_trials: int | None = None
    min_pairs: int | None = None
    max_pairs: int | None = None
    target_width: float | None = None
    timing_s: float | None = None


@dataclass
class ConfirmConfig:
    """After the search, its best `kernels` are judged again; 0 relies on the search's figures."""

    kernels: int = 3
    evaluator: ConfirmEvaluatorConfig = field(default_factory=ConfirmEvaluatorConfig)


class Baseline(StrEnum):
    """What stands beside the best kernel, as a rival of the reference's own."""

    eager = "eager"
    torch_compile = "torch_compile"


@dataclass
class BaselinesConfig:
    """What the best kernel is compared with at the end of a run.

    `names` None is the reference as it stands (`eager`), and on CUDA devices `torch_compile` of
    it too. Each phase of judging a baseline may take `run_timeout_s`; with `cache` one that was
    correct is judged once for a task, a device and the evaluator's settings.
    """

    names: list[Baseline] | None = None
    run_timeout_s: float = 300.0
    cache: bool = True


@dataclass
class RunConfig:
    """One run: a task, a device, an algorithm, a model, a seed.

    `metric` is a name of `Metric`, the dotted path of a function (Verdict) -> float, or that path
    under `_target_` with the function's other arguments beside it. `resume` names a run's folder.
    """

    gpu: GpuConfig = field(default_factory=GpuConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    llm: LlmConfig = field(default_factory=LlmConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    baselines: BaselinesConfig = field(default_factory=BaselinesConfig)
    metric: Any = "speedup"
    seed: int = 0
    resume: str | None = None
    project: str = "kbexp"
    run_name: str | None = None
    verbose: bool = False
