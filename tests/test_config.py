"""Every choice of every group composes, and means what its name says."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kbexp.app import configuration
from kbexp.app.configuration import GROUPS, choices, path_part, telling_first, typed
from kbexp.config import (
    EvaluatorConfig,
    Policy,
    Provider,
    RunConfig,
    SizeClass,
)
from kbexp.errors import KbexpError
from kbexp.script_config import CheckConfig, DeployConfig, EvaluateConfig

CONF = Path(__file__).resolve().parent.parent / "conf"

# What a choice cannot do without, because only the person who runs it can know it.
NEEDED = {
    ("task", "file"): ["task.path=mine.py"],
    ("task", "kernelbench"): ["task.problem=1"],
    ("llm", "custom"): ["llm.model=some/model"],
    ("llm", "replay"): ["llm.path=outputs/a_run"],
}

ALL = [(group, name) for group in GROUPS for name in choices(CONF, group)]
PRESETS = [(group, name) for group in ("experiment", "debug") for name in choices(CONF, group)]
MODAL_NAMES = {
    "T4", "L4", "A10", "L40S", "A100-40GB", "A100-80GB", "H100", "H100!", "H200", "B200",
}  # fmt: skip

NOT_GPUS = ("cpu", "local", "modal_cpu")


@pytest.fixture(autouse=True, scope="module")
def composing() -> Iterator[None]:
    configuration.register(CONF)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


@cache
def composed(*overrides: str, root: str = "config") -> DictConfig:
    """Compose a configuration, once: a tenth of a second each. Nobody changes what comes back."""
    return compose(root, overrides=list(overrides))


@pytest.mark.parametrize(("group", "name"), ALL)
def test_every_choice_composes_under_its_schema(group: str, name: str) -> None:
    config = typed(composed(f"{group}={name}", *NEEDED.get((group, name), [])), RunConfig)
    part = getattr(config, group)
    assert isinstance(part, GROUPS[group])
    called = "mine" if (group, name) == ("task", "file") else name  # After its file.
    assert part.name.startswith(called)


@pytest.mark.parametrize(("group", "name"), ALL)
def test_every_choice_refuses_a_key_that_its_schema_has_not(group: str, name: str) -> None:
    config = composed(f"{group}={name}", *NEEDED.get((group, name), []))
    with pytest.raises(OmegaConfBaseException, match="no_such_key"):
        OmegaConf.update(config, f"{group}.no_such_key", 1)


@pytest.mark.parametrize(("group", "name"), PRESETS)
def test_every_preset_composes(group: str, name: str) -> None:
    config = typed(composed(f"{group}={name}"), RunConfig)
    assert config.algorithm.num_steps > 0


def test_every_folder_of_choices_is_a_group_that_is_offered() -> None:
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert folders == set(GROUPS) | {"experiment", "debug", "hydra"}
    assert all(choices(CONF, group) for group in folders - {"hydra"})


def test_the_defaults_need_no_gpu_and_no_key() -> None:
    config = typed(composed(), RunConfig)
    assert config.gpu.provider is Provider.cpu
    assert config.gpu.sizes is SizeClass.cpu
    assert config.gpu.price_usd_per_s == 0
    assert config.llm.name == "offline"
    assert config.llm.api_key_env is None


def test_the_standard_evaluator_has_the_defaults_of_its_schema() -> None:
    config = typed(composed(), RunConfig)
    assert config.evaluator == EvaluatorConfig(name="standard")


def test_evaluators_are_ordered_by_the_time_they_take() -> None:
    quick, standard, thorough = (
        typed(composed(f"evaluator={name}"), RunConfig).evaluator
        for name in ("quick", "standard", "thorough")
    )
    for name in ("correctness_trials", "min_pairs", "max_pairs", "timing_s"):
        assert getattr(quick, name) < getattr(standard, name) < getattr(thorough, name)
    assert quick.target_width > standard.target_width > thorough.target_width


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("name", choices(CONF, "evaluator"))
def test_every_evaluator_takes_every_policy_and_rejects_nothing_unless_told(
    name: str, policy: Policy
) -> None:
    assert typed(composed(f"evaluator={name}"), RunConfig).evaluator.policy is Policy.any
    told = composed(f"evaluator={name}", f"evaluator.policy={policy}", "kernel=a", root="evaluate")
    assert typed(told, EvaluateConfig).evaluator.policy is policy


def test_a_policy_that_is_none_is_refused() -> None:
    with pytest.raises((KbexpError, OmegaConfBaseException, HydraException), match="policy"):
        typed(composed("evaluator.policy=none_at_all"), RunConfig)


@pytest.mark.parametrize("name", [n for n in choices(CONF, "gpu") if n not in NOT_GPUS])
def test_a_rented_gpu_says_what_it_is_and_what_it_costs(name: str) -> None:
    gpu = typed(composed(f"gpu={name}"), RunConfig).gpu
    assert gpu.provider is Provider.modal
    assert gpu.builders > 0
    assert gpu.price_usd_per_s < gpu.usd_per_s < 2 * gpu.price_usd_per_s
    assert gpu.container.image.base.startswith("nvidia/cuda:")
    assert gpu.sizes is SizeClass.gpu
    assert gpu.device_name in MODAL_NAMES
    assert 0 < gpu.price_usd_per_s < 0.01
    assert gpu.price_date
    assert gpu.source
    assert gpu.compute_capability is not None
    assert gpu.memory_bytes is not None
    assert gpu.memory_bytes_per_s is not None
    assert 10e9 < gpu.memory_bytes < 300e9
    assert 100e9 < gpu.memory_bytes_per_s < 20e12
    # Tensor cores are faster than the plain ones, and narrower types no slower than wider ones.
    peaks = gpu.peak_flops
    assert peaks["fp32"] < peaks["fp16"] <= peaks["int8"]
    if float(gpu.compute_capability) >= 8:
        assert peaks["fp32"] < peaks["tf32"] < peaks["bf16"] == peaks["fp16"]


def test_a_rented_processor_is_cheaper_than_any_rented_gpu() -> None:
    gpu = typed(composed("gpu=modal_cpu"), RunConfig).gpu
    assert gpu.provider is Provider.modal
    assert gpu.is_cpu
    assert (gpu.device_name, gpu.container.image.base) == ("", "")
    assert gpu.price_date
    assert gpu.source
    cheapest = min(
        typed(composed(f"gpu={name}"), RunConfig).gpu.usd_per_s
        for name in choices(CONF, "gpu")
        if name not in NOT_GPUS
    )
    assert 0 < gpu.usd_per_s < cheapest


@pytest.mark.parametrize("root", ["check_evaluator", "deploy"])
def test_the_other_roots_compose(root: str) -> None:
    schema = CheckConfig if root == "check_evaluator" else DeployConfig
    assert typed(composed("gpu=l4", root=root), schema).gpu.name == "l4"


def test_the_evaluate_root_has_the_same_choices() -> None:
    config = typed(composed("kernel=a.py", "gpu=l4", root="evaluate"), EvaluateConfig)
    assert config.kernel == "a.py"
    assert config.gpu.name == "l4"


def test_a_list_of_kernels_is_a_list() -> None:
    config = typed(composed("kernel=[a.py,b.py]", root="evaluate"), EvaluateConfig)
    assert config.kernel == ["a.py", "b.py"]


@pytest.mark.parametrize(
    ("override", "named"),
    [("+no_such=1", "no_such"), ("+gpu.no_such=1", "gpu.no_such"), ("gpu=_gpu", "gpu")],
)
def test_what_hydra_lets_pass_is_refused_after_composing(override: str, named: str) -> None:
    with pytest.raises(KbexpError, match=named):
        typed(composed(override), RunConfig)


def test_entries_can_be_added_where_the_names_are_free() -> None:
    config = typed(composed("+gpu.peak_flops.fp64=1e12", "+llm.extra.top_p=0.9"), RunConfig)
    assert config.gpu.peak_flops["fp64"] == 1e12
    assert config.llm.extra == {"top_p": 0.9}


@pytest.mark.parametrize(
    ("override", "metric"),
    [
        ("metric=speedup_low", "speedup_low"),
        ("metric=my_metrics.frugal", "my_metrics.frugal"),
        (
            "metric={_target_:my_metrics.frugal,joules:0.5}",
            {"_target_": "my_metrics.frugal", "joules": 0.5},
        ),
    ],
)
def test_a_metric_is_a_name_a_path_or_a_path_with_arguments(override: str, metric: object) -> None:
    assert typed(composed(override), RunConfig).metric == metric


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("seed=1,task=softmax", "seed-1_task-softmax"),
        ("kernelbench/1/23", "kernelbench_1_23"),
        ("../../etc", "etc"),
        ("", "default"),
        ("ü \n\0|", "default"),
    ],
)
def test_parts_of_paths_hold_safe_characters_only(text: str, part: str) -> None:
    assert path_part(text) == part


def test_parts_of_paths_are_bounded() -> None:
    assert len(path_part("x" * 10_000)) < 100


def test_a_run_of_a_sweep_is_called_by_what_differs() -> None:
    overrides = "budget.evaluations=3,evaluator=quick,logger=none,seed=1,task=softmax"
    assert telling_first(overrides) == (
        "task=softmax,seed=1,budget.evaluations=3,evaluator=quick,logger=none"
    )
    assert telling_first("") == ""
