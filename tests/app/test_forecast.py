"""What a run will take, by its settings and by its first call."""

from __future__ import annotations

from kbexp.app.forecast import BESIDE_TIMING_S, INPUT_TOKENS, OUTPUT_TOKENS, forecast
from kbexp.candidate import Proposal, Usage
from kbexp.config import ModelConfig, RunConfig
from kbexp.events import ProposalReceived


def settings() -> RunConfig:
    config = RunConfig()
    config.algorithm.num_steps, config.algorithm.num_candidates = 11, 5
    config.confirm.kernels = 0
    return config


def test_the_steps_or_the_budget_limit_a_run() -> None:
    config = settings()
    assert (forecast(config).calls, forecast(config).evaluations) == (55, 56)
    config.algorithm.summarizer = True
    assert forecast(config).calls == 65
    config.budget.evaluations, config.budget.proposals = 20, 30
    assert (forecast(config).calls, forecast(config).evaluations) == (40, 20)


def test_prices_are_those_of_the_settings() -> None:
    config = settings()
    config.evaluator.timing_s = 3.0
    assert forecast(config).device_s == 56 * (3.0 + BESIDE_TIMING_S)
    assert "of a price that the first will show" in forecast(config).sentence()
    assert "about 5 min of the device." in forecast(config).sentence()
    config.llm.input_usd_per_mtok, config.llm.output_usd_per_mtok = 2.0, 10.0
    call_usd = (INPUT_TOKENS * 2 + OUTPUT_TOKENS * 10) / 1e6
    assert forecast(config).call_usd == call_usd
    assert f"about ${55 * call_usd:.2f} at" in forecast(config).sentence()
    config.llm.input_usd_per_mtok = config.llm.output_usd_per_mtok = 0.0
    config.budget.wall_s = 60.0
    assert forecast(config).sentence() == (
        "At most 55 calls to the model, free, and 56 evaluations, about 60 s of the device."
    )


def test_the_first_call_shows_what_all_will_cost() -> None:
    config = settings()

    def received(number: int, cost_usd: float | None) -> ProposalReceived:
        usage = Usage(cost_usd=cost_usd)
        return ProposalReceived(proposal=Proposal(number, (), None, usage=usage))

    before = forecast(config)
    assert before.after(received(0, 0.01)) == (
        "The first call cost $0.0100: 55 of them cost $0.55."
    )
    assert before.after(received(0, None)) is None
    assert before.after(received(1, 0.01)) is None
    config.llm.input_usd_per_mtok, config.llm.output_usd_per_mtok = 2.0, 10.0
    assert forecast(config).after(received(0, 0.01)) is None


def test_of_several_models_the_dearest_counts_and_a_replay_is_free() -> None:
    config = settings()
    cheap = ModelConfig(model="a/b", input_usd_per_mtok=1.0, output_usd_per_mtok=1.0)
    dear = ModelConfig(model="a/c", input_usd_per_mtok=2.0, output_usd_per_mtok=10.0)
    config.llm.models = [dear, cheap]
    assert forecast(config).call_usd == (INPUT_TOKENS * 2 + OUTPUT_TOKENS * 10) / 1e6
    config.llm.models.append(ModelConfig(model="a/d"))
    assert forecast(config).call_usd is None
    config.llm.models, config.llm.model = [], "replay"
    assert "calls to the model, free," in forecast(config).sentence()
