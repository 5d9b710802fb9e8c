"""The trusted process that knows the answers: one for each task, kept as long as it is needed."""

from __future__ import annotations

import socket
from typing import Any

from kbexp.config import EvaluatorConfig
from kbexp.worker import wire
from kbexp.worker.flush import flush_time_ms
from kbexp.worker.gauge import gauge
from kbexp.worker.judgement import Judgement
from kbexp.worker.machine import environment, global_state
from kbexp.worker.memory import Lending, trial_room
from kbexp.worker.problems import Ahead, new_problem, new_seed
from kbexp.worker.reference import BadTask, Reference
from kbexp.worker.trap import traps_work
from kbexp.worker.work import reference_work


def main(order: dict[str, Any], fds: list[int]) -> None:
    """Load the task, say so, and judge kernels until the worker hangs up.

    Every request comes with two sockets, to the kernel's runner and to the reference's, and with
    the leashes of both.
    """
    channel = socket.socket(fileno=fds[0])
    state = global_state()  # Before the task, whose module might change it.
    traps_work()  # Before there are other threads.
    try:
        reference = Reference(order["source"], order["device"], order["inside"])
        examined = reference.try_out(new_seed())
    except BadTask as error:
        wire.send(channel, {"bad_task": str(error)})
        return
    flush_ms = flush_time_ms(order["device"])  # Before any kernel, which may leave work there.
    found = environment(order["device"]) | state
    if order["device"] == "cpu":
        found |= order["peaks"] or gauge()
    if examined.faults:
        found["task_faults"] = "; ".join(examined.faults)
    wire.send(channel, {"loaded": True, "environment": found})
    device, trials = order["device"], order["trials"]
    room = trial_room(device)
    ahead = Ahead(reference, examined, device, room)
    ahead.make(trials)
    work = reference_work(reference, new_problem(reference, examined, room, 1))
    lending = Lending(device)
    while True:
        try:
            asked, lent = wire.receive(channel)
        except wire.Closed:
            return
        settings = EvaluatorConfig(**asked["settings"])
        trials = settings.correctness_trials
        problem = ahead.take(trials)
        judgement = Judgement(problem, examined, settings, device, lending, lent, flush_ms)
        try:
            outcome = judgement.outcome(asked["source"], order["source"], ahead.meanwhile)
        finally:
            judgement.close()
        wire.send(channel, outcome.on(work).to_record())
        ahead.try_make(trials)  # The kernel's process may not have ended yet.
