"""A process for each model, on this machine, with GPUs or a share of the cores of its own.

The processes are forks of one that has not imported torch. Their locks (flock) end with them,
however they end: two commands at once share the GPUs and never decode one model twice.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from boxes.commandline import command
from boxes.interrupts import ENDING, Ended, deferred, end_with_parent
from boxes.runs.devices import Machine, Place, sign, try_lock, wait_for_lock


class Work(Protocol):
    """What a model's process does: the model's name, the file that one process at a time has
    locked, and the work."""

    name: str
    lock: Path

    def run(self, place: Place) -> None: ...


def run_all(works: list[Work], machine: Machine) -> list[str]:
    """Run each work as soon as what its model needs is free; those that another command is at come
    last, when it has finished. Where one ends badly, no other is begun. Returns the names of those
    that did not end well."""
    for work in works:
        machine.gpu_placement(work.name)  # what cannot be is said before anything begins
    busy = []
    with _ended_together() as processes:
        for work in works:
            handle = try_lock(work.lock)
            if handle is None:
                busy.append(work)
            else:
                _start(work, handle, machine, processes)
        for work in busy:
            _start(work, wait_for_lock(work.lock), machine, processes)
        for process in processes:
            process.join()
    for process in processes:
        if process.exitcode < 0:
            how = signal.Signals(-process.exitcode).name
            print(f"{process.name}: ended by {how}; run again, what was written is kept", file=sys.stderr)
    return [process.name for process in processes if process.exitcode]


def _start(work: Work, handle: int, machine: Machine, processes: list[BaseProcess]) -> None:
    """Wait for a place and begin; the locks are then the process's own."""
    place = machine.take(work.name)
    locks = (handle, *place.locks)
    if not any(process.exitcode for process in processes):
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=_in_process, args=(work, handle, place, os.getpid()), name=work.name)
        with deferred():  # it heeds signals from where its work begins
            process.start()
            processes.append(process)
    for lock in locks:
        os.close(lock)


def _in_process(work: Work, handle: int, place: Place, parent: int) -> None:
    """In the fork: run as a script does, with its messages and exit status; a signal is the
    parent's to speak of."""
    end_with_parent()  # a parent that is killed leaves none behind
    if os.getppid() != parent:
        return
    sign(handle)
    os.environ |= place.environment

    @command
    def run() -> int | None:
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _end_once)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        try:
            work.run(place)
        except Ended as ended:
            return 128 + ended.args[0]
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        return None

    run()


def _end_once(number: int, _frame) -> None:
    """The terminal tells all of us of a Ctrl-C, and the parent tells its processes: one of the two
    is enough."""
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise Ended(number)


@contextmanager
def _ended_together() -> Iterator[list[BaseProcess]]:
    """Processes that do not outlive a signal to this one."""
    processes: list[BaseProcess] = []
    try:
        yield processes
    except BaseException:
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join()
        raise
