"""Faults of a round, made on a `ProxiedCluster` and taken back again."""

from __future__ import annotations

import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil
from history import Recorder
from plan import Fault
from proxied import CLOCK_SECONDS, ProxiedCluster
from proxies import RedisProxy, Trap
from running_stack import wait_until
from small_disk import fill

_CLOCK_STEP = 3600
_DELAY_SECONDS = 0.1
_TORN = b"*3\r\n$3\r\nSET\r\n$4\r\ntorn\r\n$100\r\nhalf of "
"""The beginning of a command: what a server leaves that dies while it writes."""
_WAIT_FOR_TRAINER = 2.0


class Breaker:
    """Makes the faults of one round, each on a thread of its own, one at a time for each victim.

    `done`: the faults that were really made.
    """

    def __init__(self, cluster: ProxiedCluster, recorder: Recorder, began: float) -> None:
        self.done: list[Fault] = []
        self.problems: list[str] = []
        self._cluster = cluster
        self._recorder = recorder
        self._began = began
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._threads: list[threading.Thread] = []

    def begin(self, fault: Fault) -> None:
        """Make a fault when its time has come."""
        thread = threading.Thread(target=self._try, args=(fault,), name=str(fault))
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        """Wait until all faults are over."""
        for thread in self._threads:
            thread.join()

    def _try(self, fault: Fault) -> None:
        if fault.kind in self._cluster.missing:
            return
        _sleep_until(self._began + fault.at)
        try:
            with self._locks[fault.kills or fault.victim]:
                begin = time.monotonic() - self._began
                if _MAKERS[fault.kind](self, fault):
                    self.done.append(fault)
                    end = time.monotonic() - self._began
                    self._recorder.add({"fault": str(fault), "begin": begin, "end": end})
        except Exception as error:
            self.problems.append(f"the fault '{fault}' could not be made: {error!r}")

    def _kill(self, fault: Fault) -> bool:
        return self._kill_process(fault.victim)

    def _kill_process(self, victim: str) -> bool:
        if victim in ("trainer", "rank"):
            process = self._find(victim)
            if process is not None:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return process is not None
        if self._cluster.runs(victim):
            self._cluster.kill(victim)
        self._cluster.start(victim)
        return True

    def _find(self, victim: str) -> psutil.Process | None:
        """A process that trains; None where there is none in time."""
        find = self._trainer if victim == "trainer" else self._rank
        with suppress(AssertionError, psutil.NoSuchProcess):
            return wait_until(find, victim, _WAIT_FOR_TRAINER)
        return None

    def _trainer(self) -> psutil.Process | None:
        return next(iter(self._cluster.trainers()), None)

    def _rank(self) -> psutil.Process | None:
        for first in self._cluster.trainers():
            launcher = first.parent()
            if launcher and launcher.pid not in self._parents():
                others = [one for one in launcher.children() if one.pid != first.pid]
                if others:
                    return others[0]
        return None

    def _parents(self) -> set[int]:
        return {process.pid for process in self._cluster.processes.values()}

    def _terminate(self, fault: Fault) -> bool:
        cluster = self._cluster
        if cluster.runs(fault.victim):
            cluster.signal(fault.victim, signal.SIGTERM)
            wait_until(lambda: not cluster.runs(fault.victim), f"the end of {fault.victim}", 30)
            cluster.start(fault.victim)
        return True

    def _freeze(self, fault: Fault) -> bool:
        stop = self._stoppable(fault.victim)
        if stop is None:
            return False
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            stop(signal.SIGSTOP)
            time.sleep(fault.seconds)
            stop(signal.SIGCONT)
        return True

    def _stoppable(self, victim: str) -> Callable[[signal.Signals], None] | None:
        if victim == "trainer":
            trainer = self._find(victim)
            return trainer.send_signal if trainer else None
        if victim == "redis":
            server = self._cluster.redis.process
            return server.send_signal if server else None
        return self._cluster.processes[victim].send_signal

    def _trap(self, fault: Fault) -> bool:
        link = self._cluster.links[fault.victim]
        assert isinstance(link, RedisProxy)
        sprung = threading.Event()
        trap = Trap(fault.script, fault.after, lambda: self._spring(fault, sprung))
        link.arm(trap)
        if not sprung.wait(fault.seconds) and link.disarm(trap):
            return False
        sprung.wait()
        if fault.kills != "trainer" and not self._cluster.runs(fault.kills):
            self._cluster.start(fault.kills)
        return True

    def _spring(self, fault: Fault, sprung: threading.Event) -> None:
        """On the proxies' thread, so at once."""
        try:
            if fault.kills != "trainer":
                self._cluster.kill(fault.kills)
            elif trainer := self._cluster.trainer(fault.victim):
                trainer.kill()
        finally:
            sprung.set()

    def _delay(self, fault: Fault) -> bool:
        link = self._cluster.links[fault.victim]
        link.delay_seconds = _DELAY_SECONDS
        time.sleep(fault.seconds)
        link.delay_seconds = 0.0
        return True

    def _half_open(self, fault: Fault) -> bool:
        link = self._cluster.links[fault.victim]
        link.hold()
        time.sleep(fault.seconds)
        link.cut()
        link.release()
        return True

    def _drop(self, fault: Fault) -> bool:
        self._cluster.links[fault.victim].cut()
        return True

    def _full_disk(self, fault: Fault) -> bool:
        ballast = fill(self._cluster.disks[fault.victim], 0)
        time.sleep(fault.seconds)
        ballast.unlink()
        return True

    def _torn_file(self, fault: Fault) -> bool:
        redis = self._cluster.redis
        redis.kill()
        newest = max(redis.folder.glob("appendonlydir/*.incr.aof"), key=lambda p: p.stat().st_mtime)
        with newest.open("ab") as file:
            file.write(_TORN)
        self._cluster.start("redis")
        return True

    def _step_clock(self, fault: Fault) -> bool:
        clock = self._cluster.clock
        assert clock is not None
        clock.write_text(f"+{_CLOCK_STEP}\n")
        time.sleep(CLOCK_SECONDS + fault.seconds)
        clock.write_text("+0\n")
        return True


_MAKERS: dict[str, Callable[[Breaker, Fault], bool]] = {
    "kill": Breaker._kill,
    "terminate": Breaker._terminate,
    "freeze": Breaker._freeze,
    "trap": Breaker._trap,
    "delay": Breaker._delay,
    "half-open": Breaker._half_open,
    "drop": Breaker._drop,
    "full disk": Breaker._full_disk,
    "torn file": Breaker._torn_file,
    "clock": Breaker._step_clock,
}


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


@contextmanager
def broken(
    cluster: ProxiedCluster, recorder: Recorder, began: float, faults: tuple[Fault, ...]
) -> Iterator[Breaker]:
    """Faults as they come; at the end all are over, and everything runs again."""
    breaker = Breaker(cluster, recorder, began)
    for fault in faults:
        breaker.begin(fault)
    try:
        yield breaker
    finally:
        breaker.join()
        cluster.heal()
