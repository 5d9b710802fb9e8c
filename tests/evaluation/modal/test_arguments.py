"""From the configuration to what Modal is asked for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kbexp.config import ContainerConfig, EvaluatorConfig, GpuConfig, ImageConfig, Provider
from kbexp.errors import KbexpError
from kbexp.evaluation.modal import arguments

H100 = GpuConfig(
    name="h100", provider=Provider.modal, device_name="H100!", price_usd_per_s=0.001, builders=2
)
SETTINGS = EvaluatorConfig(name="standard")


def test_a_judge_gets_the_device_by_modals_name_and_nothing_without_one() -> None:
    assert arguments.judge_arguments(H100, SETTINGS)["gpu"] == "H100!"
    bare = replace(H100, device_name="")
    assert "gpu" not in arguments.judge_arguments(bare, SETTINGS)
    assert "gpu" not in arguments.builder_arguments(H100, SETTINGS)


def test_no_container_has_a_network_a_secret_or_sources_that_were_not_chosen() -> None:
    for made in (arguments.judge_arguments, arguments.builder_arguments):
        given = made(H100, SETTINGS)
        assert given["block_network"] is True
        assert given["include_source"] is False
        assert not {"secrets", "env"} & set(given)
    assert arguments.judge_arguments(H100, SETTINGS)["restrict_modal_access"] is True


def test_a_runs_own_app_keeps_one_container_warm_and_a_deployed_one_none() -> None:
    own = arguments.judge_arguments(replace(H100, count=4, idle_timeout_s=300), SETTINGS)
    assert (own["min_containers"], own["max_containers"], own["scaledown_window"]) == (1, 4, 300)
    kept = arguments.judge_arguments(replace(H100, deployed=True), SETTINGS)
    assert (kept["min_containers"], kept["max_containers"]) == (0, 1)


def test_containers_get_the_cores_and_the_memory_that_are_paid_for() -> None:
    box = ContainerConfig(cores=2.5, memory_bytes=3 * 2**30 + 1, startup_timeout_s=90)
    for made in (arguments.judge_arguments, arguments.builder_arguments):
        given = made(replace(H100, container=box), SETTINGS)
        assert (given["cpu"], given["memory"], given["startup_timeout"]) == (2.5, 3 * 1024 + 1, 90)


def test_builders_are_as_many_as_are_set_and_end_soon() -> None:
    given = arguments.builder_arguments(replace(H100, builders=3), SETTINGS)
    assert (given["max_containers"], given["min_containers"]) == (3, 0)
    assert given["scaledown_window"] == arguments.BUILDER_IDLE_S
    assert given["timeout"] > SETTINGS.build_timeout_s
    hasty = arguments.builder_arguments(replace(H100, idle_timeout_s=20), SETTINGS)
    assert hasty["scaledown_window"] == 20


def test_an_evaluation_may_take_longer_than_all_that_the_worker_allows_itself() -> None:
    longest = replace(SETTINGS, run_timeout_s=500.0, build_timeout_s=100.0, timing_s=10.0)
    assert arguments.judge_timeout_s(longest) >= 2 * (100 + 3 * 500 + 10)
    # A baseline may take baselines.run_timeout_s for each of its phases.
    assert arguments.judge_timeout_s(SETTINGS) >= 3 * 300
    endless = replace(SETTINGS, timing_s=1e9)
    assert arguments.judge_timeout_s(endless) == arguments.LONGEST_TIMEOUT_S


def test_an_image_is_a_cuda_base_with_python_or_debian() -> None:
    assert arguments.base_arguments(ImageConfig(base="nvidia/cuda:x", python="3.13")) == {
        "tag": "nvidia/cuda:x",
        "add_python": "3.13",
        "setup_dockerfile_commands": ["ENTRYPOINT []"],
    }
    assert arguments.base_arguments(ImageConfig(base="")) == {"python_version": "3.12"}
    assert "-devel-" in ImageConfig().base


def test_packages_come_from_pypi_and_from_where_it_is_said() -> None:
    assert arguments.package_arguments(ImageConfig()) == {}
    said = arguments.package_arguments(ImageConfig(extra_index_url="https://x.invalid"))
    assert said == {"extra_index_url": "https://x.invalid"}


def test_the_packages_are_those_of_the_lock(repository: Path) -> None:
    locked = (repository / "constraints.txt").read_text().splitlines()
    assert set(ImageConfig().packages) <= set(locked)
    assert {line.partition("==")[0] for line in ImageConfig().packages} == {
        "torch", "numpy", "ninja",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"count": 0}, "gpu.count"),
        ({"builders": -1}, "gpu.builders"),
        ({"idle_timeout_s": 1}, "gpu.idle_timeout_s"),
        ({"idle_timeout_s": 3601}, "gpu.idle_timeout_s"),
        ({"container": ContainerConfig(cores=0)}, "gpu.container.cores"),
    ],
)
def test_what_no_container_can_be_asked_for_with_is_refused(
    changes: dict[str, object], named: str
) -> None:
    arguments.check(H100)
    with pytest.raises(KbexpError, match=named):
        arguments.check(replace(H100, **changes))  # type: ignore[arg-type]


def test_names_are_such_as_modal_takes() -> None:
    assert arguments.app_name(replace(H100, name="a100_80gb")) == "kbexp-a100-80gb"
    other = replace(H100, container=ContainerConfig(image=ImageConfig(python="3.13")))
    assert arguments.volume_name(H100) == arguments.volume_name(replace(H100, name="t4"))
    assert arguments.volume_name(H100) != arguments.volume_name(other)


def test_the_fingerprint_of_the_sources_is_that_of_what_is_shipped(tmp_path: Path) -> None:
    from modal.file_pattern_matcher import FilePatternMatcher

    package = tmp_path / "kbexp"
    shutil.copytree(arguments.PACKAGE, package)
    assert arguments.sources_fingerprint(package) == arguments.sources_fingerprint()
    ignored = FilePatternMatcher(*arguments.source_arguments()["ignore"])
    for path in sorted(package.rglob("*"), reverse=True):
        if path.is_file() and any(
            ignored(part) for part in _with_parents(path.relative_to(package))
        ):
            path.unlink()
    assert arguments.sources_fingerprint(package) == arguments.sources_fingerprint()
    assert not (package / "search" / "loop.py").exists()
    assert (package / "worker" / "judge.py").exists()
    (package / "worker" / "judge.py").write_text("# another version\n")
    assert arguments.sources_fingerprint(package) != arguments.sources_fingerprint()


def _with_parents(path: Path) -> list[Path]:
    return [path, *list(path.parents)[:-1]]
