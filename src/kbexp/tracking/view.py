"""What the live view shows, as a function of a run's state, the terminal's size and the time."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from kbexp.tracking.board import Board, Row
from kbexp.tracking.figures import count, dollars, duration, interval, milliseconds, ratio, worth
from kbexp.tracking.plain import origin, without_best
from kbexp.tracking.text import one_line
from kbexp.verdict import Interval, Status
from kbexp.winner import Winner

MAX_WIDTH = 104
BARS = "▁▂▃▄▅▆▇█"

KIND_STYLES = {
    Status.CORRECT: "green",
    Status.INCORRECT: "red",
    Status.COMPILE_ERROR: "yellow",
    Status.RUNTIME_ERROR: "red",
    Status.TIMEOUT: "magenta",
    Status.REJECTED: "bright_red",
    Status.INFRASTRUCTURE_ERROR: "cyan",
    "no kernel": "yellow",
    "duplicate": "bright_black",
}
STATE_STYLES = {"running": "cyan", "complete": "green", "stopped": "yellow"}


@dataclass(frozen=True, slots=True)
class Meter:
    """A line of progress: a bar where there is a limit, a figure in words always."""

    label: str
    done: float
    limit: float | None
    words: str
    note: str = ""


def render(board: Board, width: int, height: int, now: float) -> RenderableType:
    """Return the view for a terminal of `width` columns and `height` lines at the time `now`."""
    width = max(20, min(width, MAX_WIDTH))
    state_style = STATE_STYLES.get(board.summary.state, "red")
    meters, tally = _meters(board, now), _tally(board)
    parts: list[RenderableType] = [_headline(board), _climb(board, width - 40)]
    parts += [Text(), _meter_table(meters), Text(), tally]
    frame = 10 if board.summary.reason else 9  # Lines of the frame, the headline and its reason.
    room = height - len(meters) - frame - tally.cell_len // (width - 4)
    rows = list(board.rows)[-room:] if room > 0 else []
    if rows:
        parts += [Rule(style="bright_black"), *(_row(row) for row in rows)]
    return Panel(
        Group(*parts),
        box=box.ROUNDED,
        border_style="bright_black" if board.summary.state == "running" else state_style,
        title=_title(board, width - 6),
        title_align="left",
        subtitle=_where(board, width - 6),
        subtitle_align="right",
        padding=(0, 1),
        width=width,
    )


def _title(board: Board, width: int) -> Text:
    """Return task, device, algorithm, model and seed, or the run's name where it has none."""
    run = board.run
    names = [run.setting(f"{group}.name") for group in ("task", "gpu", "algorithm", "llm")]
    shown = [one_line(str(name), 40) for name in names if name]
    if run.setting("seed") is not None:
        shown.append(f"seed {one_line(str(run.setting('seed')), 20)}")
    words = " · ".join(shown if any(names) else [one_line(run.name, 80)])
    title = Text(f" {words} ", style="bold", no_wrap=True)
    title.truncate(width, overflow="ellipsis")
    return title


def _where(board: Board, width: int) -> Text:
    """Return the run's folder, as short as it can be said."""
    folder, start = board.run.folder.absolute(), board.run.launch_dir.absolute()
    shown = folder.relative_to(start) if folder.is_relative_to(start) else folder
    words = one_line(str(shown), 500)
    if len(words) > width - 2:
        words = "…" + words[-(width - 3) :]
    return Text(f" {words} ", style="bright_black", no_wrap=True)


def _headline(board: Board) -> RenderableType:
    summary, best = board.summary, board.summary.winner
    left = Text("best ", no_wrap=True, overflow="ellipsis")
    if best is None:
        left.append(without_best(summary), style="bright_black")
    else:
        speedup, time_ms = best.verdict.speedup, best.verdict.time_ms
        if not summary.by_speedup:
            left.append(f"{worth(summary.metric, best.score)}  ", style="bold")
        if speedup is not None:
            left.append(interval(speedup), style=f"bold {_speedup_style(speedup)}")
        if time_ms is not None:
            left.append(f"  {milliseconds(time_ms.value)}")
        left.append(f"  {_standing(best)}", style="bright_black")
    state = one_line(summary.state, 20)
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(left, Text(state, style=f"bold {STATE_STYLES.get(state, 'red')}"))
    if not summary.reason or summary.state == "failed":
        return grid  # Why a run failed is the last that the program says.
    reason = Text(one_line(summary.reason), style="italic", no_wrap=True, overflow="ellipsis")
    return Group(grid, reason)


def _standing(best: Winner) -> str:
    """Return where the best kernel came from, and what became of the search's figure for it."""
    searched, whence = best.searched.verdict.speedup, origin(best.searched.number)
    if best.confirmed is None:
        return whence
    before = f", {ratio(searched.value)} when searched" if searched is not None else ""
    return f"confirmed{before}  {whence}"


def _climb(board: Board, width: int) -> Text:
    """Return the best score over the evaluations as a line of small bars."""
    climb, total = board.climb, board.summary.verdicts
    line = Text("     ", no_wrap=True, overflow="ellipsis")
    if len(climb) < 2:
        return line
    width = max(8, min(width, total))
    low, high = min(s for _, s in climb), max(s for _, s in climb)
    bars, at, score = "", 0, None
    for column in range(width):
        until = -(-(column + 1) * total // width)
        while at < len(climb) and climb[at][0] <= until:
            score, at = climb[at][1], at + 1
        share = 0.0 if score is None or high == low else (score - low) / (high - low)
        bars += " " if score is None else BARS[round(share * (len(BARS) - 1))]
    line.append(bars, style="green")
    return line.append(f" {total} verdicts", style="bright_black")


def _meters(board: Board, now: float) -> list[Meter]:
    """Return what is used up and of what limit; what has neither is left out."""
    summary, budget = board.summary, board.run.budget
    wall_s = summary.wall_s
    if summary.state == "running" and summary.last_time is not None and not board.starting:
        wall_s += max(0.0, now - summary.last_time)
    steps = board.run.setting("algorithm.num_steps")
    sign = "≥ " if summary.unpriced else ""
    used = summary.input_tokens + summary.output_tokens
    tokens = f"{count(summary.input_tokens)} in + {count(summary.output_tokens)} out tokens"
    tokens = tokens if used else ""
    return [
        Meter("steps", summary.step, steps if isinstance(steps, int) else None, str(summary.step)),
        Meter("evaluations", summary.evaluations, budget.evaluations, f"{summary.evaluations:,}"),
        Meter("proposals", summary.proposals, budget.proposals, f"{summary.proposals:,}"),
        Meter("time", wall_s, budget.wall_s, duration(wall_s)),
        Meter("model", summary.llm_usd, budget.llm_usd, sign + dollars(summary.llm_usd), tokens),
        Meter("device", summary.gpu_usd, budget.gpu_usd, dollars(summary.gpu_usd), board.device),
    ]


def _meter_table(meters: list[Meter]) -> Table:
    table = Table.grid(expand=True, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    table.add_column(no_wrap=True)
    for meter in meters:
        figure = Text(meter.words, no_wrap=True)
        bar: RenderableType = Text(
            meter.note, style="bright_black", no_wrap=True, overflow="ellipsis"
        )
        if meter.limit:
            figure.append(f" of {_limit(meter)}", style="bright_black")
            full = meter.done >= meter.limit
            bar = ProgressBar(
                total=meter.limit,
                completed=min(meter.done, meter.limit),
                complete_style="yellow" if full else "cyan",
                finished_style="yellow",
                style="bright_black",
            )
        table.add_row(Text(meter.label), bar, figure)
    return table


def _limit(meter: Meter) -> str:
    assert meter.limit is not None
    if meter.label == "time":
        return duration(meter.limit)
    if meter.label in ("model", "device"):
        return dollars(meter.limit)
    return f"{meter.limit:,.0f}"


def _tally(board: Board) -> Text:
    """Return how many kernels ended how, and what is under way."""
    summary = board.summary
    parts: list[Text] = []
    if board.doing:
        parts.append(Text(one_line(board.doing), style="bold cyan"))
    elif board.judging:
        parts.append(Text(f"judging {len(board.judging)}", style="bold cyan"))
    if board.asked:
        parts.append(Text(f"asking for {len(board.asked)}", style="bold cyan"))
    if board.confirming:
        parts.append(Text(f"judging {len(board.confirming)} after the search", style="bold cyan"))
    by_count = sorted(summary.statuses.items(), key=lambda item: -item[1])
    parts += [Text(f"{n} {_word(kind)}", style=KIND_STYLES[kind]) for kind, n in by_count if n]
    failed_at_once = summary.state == "failed" and not summary.verdicts
    if summary.unjudged and not board.searching and not failed_at_once:
        parts.append(Text(f"{summary.unjudged} not judged", style="yellow"))
    if summary.duplicates:
        parts.append(Text(f"{summary.duplicates} duplicate", style=KIND_STYLES["duplicate"]))
    if summary.failed_proposals:
        parts.append(Text(f"{summary.failed_proposals} no kernel", style="yellow"))
    return Text(" · ", style="bright_black").join(parts)


def _row(row: Row) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append("★" if row.best else " ", style="bold green")
    line.append(f"{row.label:>5}  ", style="bright_black")
    line.append(f"{_word(row.kind):<15}", style=KIND_STYLES.get(row.kind, ""))
    verdict = row.verdict
    if verdict is None or not verdict.correct:
        return line.append(row.detail, style="default")
    if verdict.speedup is not None:
        style = _speedup_style(verdict.speedup)
        line.append(f"{interval(verdict.speedup):<22}", style=style)
    if verdict.time_ms is not None:
        line.append(f"{milliseconds(verdict.time_ms.value):>9}")
    if row.detail:
        line.append(f"  {row.detail}", style="bright_black")
    return line


def _word(kind: Status | str) -> str:
    if kind is Status.INFRASTRUCTURE_ERROR:
        return "infrastructure"
    return str(kind).replace("_", " ")


def _speedup_style(speedup: Interval) -> str:
    """Colour by what the interval proves: faster, slower, or neither."""
    if speedup.low > 1:
        return "green"
    return "red" if speedup.high < 1 else "yellow"
