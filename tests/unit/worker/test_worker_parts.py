"""The parts of a worker that need no process: messages, spool, output, retention, failures."""

from __future__ import annotations

import errno
import math
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from rq.serializers import JSONSerializer

from app.training.data import DataError
from app.training.errors import CheckpointError, NonFiniteLossError
from app.transformer.errors import ConfigError, FieldProblem
from artifact_store import ArtifactStoreAwayError
from job_store.attempts import PLACE_DONE, PLACE_LOST
from job_store.queues import RUN_ATTEMPT, RUN_PLACE
from job_store.records import CheckpointRecord, OutcomeKind, Phase, PhaseProgress
from training_worker.board import Board
from training_worker.failed_saves import FailedSaves
from training_worker.failures import describe_failure, is_full_disk, print_failure
from training_worker.gathering import interface_of
from training_worker.messages import AttemptJob, AttemptOrder, MessageRefusedError, PlaceOrder
from training_worker.output import FILE_NAME, OutputReader, output_tail, redirect_output
from training_worker.places import PlaceCounts
from training_worker.retention import surplus
from training_worker.settings import WorkerSettings
from training_worker.spool import FILE_NAME as SPOOL
from training_worker.spool import SpoolReader, SpoolWriter


def message(name: str, *args: Any, **kwargs: Any) -> AttemptJob:
    return AttemptJob.create(
        name, args=args, kwargs=kwargs, connection=redis.Redis(), serializer=JSONSerializer
    )


def test_a_good_message_is_read() -> None:
    assert message(RUN_ATTEMPT, "job_1", 2).order() == AttemptOrder("job_1", 2)
    place = ("job_1", 2, "claim", 1, "10.0.0.1", 4000, "cpu")
    assert message(RUN_PLACE, *place).order() == PlaceOrder(*place)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (message("os.system", "x"), "it names 'os.system', and only"),
        (message(RUN_ATTEMPT), "its arguments must be a job id"),
        (message(RUN_ATTEMPT, "job_1", True), "its arguments must be a job id"),
        (message(RUN_ATTEMPT, "job_1", "1"), "its arguments must be a job id"),
        (message(RUN_ATTEMPT, "job_1", 1, more=1), "its arguments must be a job id"),
        (message(RUN_PLACE, "job_1", 1, "claim", 1, "host", "4000", "cpu"), "those of a place"),
    ],
)
def test_any_other_message_is_refused(bad: AttemptJob, reason: str) -> None:
    with pytest.raises(MessageRefusedError, match=reason):
        bad.order()
    with pytest.raises(MessageRefusedError, match="never called by its name"):
        bad.perform()


def test_the_board_shows_what_was_written() -> None:
    board = Board()
    assert board.read() == (0, Phase.STARTING, 0, (0, 0, 0.0))
    board.write(7, Phase.VALIDATING, 1 << 40, PhaseProgress(12, 80, 2.5))
    board.show_encoding("line 2")
    board.pulse()
    board.pulse()
    assert board.read() == (7, Phase.VALIDATING, 1 << 40, (12, 80, 2.5))
    assert (board.pulses, board.encoding) == (3, "line 2")
    board.close()


def test_the_spool_gives_back_exact_values_and_only_whole_lines(tmp_path: Path) -> None:
    writer, reader = SpoolWriter(tmp_path), SpoolReader(tmp_path)
    assert reader.peek() == ([], 0)
    value = 0.1 + 0.2
    first = {"loss": value, "perplexity": float("inf")}
    writer.append(3, 1000, first)
    writer.append(4, 1001, {"val_loss": float("nan")})
    writer.sync()
    points, end = reader.peek()
    assert [(p.step, p.time_ms) for p in points] == [(3, 1000), (4, 1001)]
    assert points[0].values == first
    assert math.isnan(points[1].values["val_loss"])
    assert end == writer.end
    assert reader.peek() == (points, end)
    reader.advance(end)
    with (tmp_path / SPOOL).open("ab") as file:
        file.write(b"[4,")
    assert reader.peek() == ([], end)
    writer.close()
    reader.close()


def test_a_point_of_the_spool_may_be_longer_than_a_batch(tmp_path: Path) -> None:
    writer, reader = SpoolWriter(tmp_path), SpoolReader(tmp_path)
    long = "\x01" * 40_000  # of six bytes each in the spool
    writer.append(1, 1000, {"loss": 1.0})
    writer.append(2, 1001, {"loss": 2.0}, [long, "é", long])
    writer.append(3, 1002, {"loss": 3.0})
    found = []
    while points := reader.peek()[0]:
        found += points
        reader.advance(reader.peek()[1])
    assert [point.step for point in found] == [1, 2, 3]
    assert [point.samples for point in found] == [(), (long, "é", long), ()]
    reader.seek_behind(1)
    assert reader.peek()[0][0].step == 2
    writer.close()
    reader.close()


@pytest.mark.parametrize("held", [-1, 0, 1, 8, 50, 97, 99])
def test_the_spool_is_found_again_behind_any_point(tmp_path: Path, held: int) -> None:
    writer, reader = SpoolWriter(tmp_path), SpoolReader(tmp_path)
    written = list(range(1, 100, 7))
    for step in written:
        writer.append(step, 1000, {"loss": 1.0 / step, "more": 10.0 ** (step % 2) * step**9})
    reader.seek_behind(held)
    assert [p.step for p in reader.peek()[0]] == [step for step in written if step > held]
    writer.close()
    reader.close()


def test_output_lines_keep_their_numbers_and_streams(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        redirect_output(tmp_path)
        print("one")
        print("two\nthree", file=sys.stderr)
        os.write(2, b"from C\n")
        print("10%\r20%\r30%")
        sys.stdout.write("unfinished")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    reader = OutputReader(tmp_path)
    lines = reader.peek()
    assert [(line.seq, line.source, line.text) for line in lines] == [
        (0, "stdout", "one"),
        (1, "stderr", "two"),
        (2, "stderr", "three"),
        (3, "stdout", "from C"),
        (4, "stdout", "30%"),
    ]
    reader.advance()
    assert reader.peek() == []
    assert [line.text for line in reader.peek(final=True)] == ["unfinished"]
    later = OutputReader(tmp_path, next_seq=4).peek(final=True)
    assert [(line.seq, line.text) for line in later] == [(4, "30%"), (5, "unfinished")]
    assert output_tail(tmp_path).startswith("one\ntwo\nthree\n")


def test_output_is_bounded_and_numbers_go_on(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    reader = OutputReader(tmp_path, max_bytes=100)
    seen = []
    for start in range(0, 100, 10):
        with path.open("a") as file:
            file.write("".join(f"line {i}\n" for i in range(start, start + 10)))
        seen += reader.peek()
        reader.advance()
        assert path.stat().st_size <= 200
    assert [line.seq for line in seen] == list(range(100))
    assert [line.text for line in seen] == [f"line {i}" for i in range(100)]
    assert OutputReader(tmp_path, next_seq=100).peek() == []


def checkpoint(step: int, *, best: bool = False) -> CheckpointRecord:
    return CheckpointRecord(f"c{step}", "j", 1, step, 1.0, 1, "", f"x/{step}.pt", 0, None, best)


@pytest.mark.parametrize(
    ("best", "resumed", "keep", "expected"),
    [
        (None, "", 3, [1, 2]),
        (1, "", 3, [2, 3]),
        (1, "c2", 3, [3, 4]),
        (None, "", 9, []),
        (2, "c1", 1, [3, 4]),
    ],
)
def test_surplus_spares_best_newest_and_resumed(
    best: int | None, resumed: str, keep: int, expected: list[int]
) -> None:
    records = [checkpoint(step, best=step == best) for step in range(1, 6)]
    assert [record.step for record in surplus(records, keep, resumed)] == expected


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (NonFiniteLossError(3, "loss", "here"), OutcomeKind.FAILED, "NON_FINITE_LOSS"),
        (DataError("too short"), OutcomeKind.FAILED, "INVALID_DATA"),
        (CheckpointError("disk full"), OutcomeKind.CRASHED, "CHECKPOINT_FAILED"),
        (PermissionError(13, "no"), OutcomeKind.CRASHED, "INPUT_OUTPUT"),
        (KeyError("x"), OutcomeKind.CRASHED, "TRAINER_ERROR"),
    ],
)
def test_failures_say_whether_trying_again_helps(
    error: Exception, kind: OutcomeKind, reason: str
) -> None:
    outcome = describe_failure(error, "tail")
    assert outcome.error is not None
    assert (outcome.kind, outcome.error.reason, outcome.error.log_tail) == (kind, reason, "tail")
    assert str(error) in outcome.error.message


@pytest.mark.parametrize(
    ("error", "defect"),
    [
        (NonFiniteLossError(3, "loss", "here"), False),
        (ConfigError([FieldProblem("max_steps", "is 0; it must be > 0")]), False),
        (DataError("too short"), False),
        (KeyError("x"), True),
        (PermissionError(13, "no"), True),
    ],
)
def test_only_a_defect_prints_its_traceback(
    error: Exception, defect: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        raise error
    except Exception as caught:
        print_failure(caught)
    said = capsys.readouterr().err
    assert said.startswith("Traceback") if defect else said == f"{error}\n"


def test_threads_are_a_fair_share_of_the_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert WorkerSettings(workers_on_host=1).resolved_threads() == cores
    assert WorkerSettings(workers_on_host=cores * 2).resolved_threads() == 1
    assert WorkerSettings(threads=5).resolved_threads() == 5
    assert WorkerSettings(worker_id="w").resolved_worker_id() == "w"


def test_a_point_that_does_not_fit_the_disk_leaves_nothing_of_itself(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path)
    spool.append(1, 10, {"loss": 2.0})
    whole = spool.end
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Room for some bytes of the next line; what does not fit is EFBIG here, ENOSPC on a disk.
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 5, unlimited[1]))
    try:
        with pytest.raises(OSError, match="the point of step 2 could not be written") as caught:
            spool.append(2, 20, {"loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        signal.signal(signal.SIGXFSZ, before)
    assert "free some space" in str(caught.value)
    assert str(tmp_path / "metrics.spool") in str(caught.value)
    assert (spool.end, (tmp_path / "metrics.spool").stat().st_size) == (whole, whole)
    spool.append(2, 20, {"loss": 1.0})
    spool.close()
    reader = SpoolReader(tmp_path)
    assert [point.step for point in reader.peek()[0]] == [1, 2]
    reader.close()


def test_a_full_disk_is_told_with_its_remedy_once() -> None:
    bare = describe_failure(OSError(errno.ENOSPC, "No space left on device", "/data/x"), "")
    assert bare.error is not None
    assert bare.error.message == (
        "OSError: [Errno 28] No space left on device: '/data/x'; free some space, and resume "
        "from the last checkpoint"
    )
    told = describe_failure(OSError(errno.ENOSPC, "full; free some space"), "")
    assert told.error is not None
    assert told.error.message == "OSError: [Errno 28] full; free some space"
    assert (told.kind, told.error.reason) == (OutcomeKind.CRASHED, "DISK_FULL")


def test_a_full_disk_is_known_behind_the_error_that_tells_of_it() -> None:
    for told in (CheckpointError("not written"), DataError("no cache"), RuntimeError("journal")):
        told.__cause__ = OSError(errno.ENOSPC, "No space left on device")
        outcome = describe_failure(told, "tail")
        assert outcome.error is not None
        assert (outcome.kind, outcome.error.reason) == (OutcomeKind.CRASHED, "DISK_FULL")
        assert "free some space" in outcome.error.message
    quota = OSError(errno.EDQUOT, "Disk quota exceeded")
    assert is_full_disk(quota)
    assert not is_full_disk(PermissionError(13, "no"))
    assert not is_full_disk(CheckpointError("damaged"))


def test_an_attempt_without_its_store_hands_its_job_back() -> None:
    told = CheckpointError("a checkpoint was not saved")
    told.__cause__ = ArtifactStoreAwayError("/srv/artifacts carries no identity")
    outcome = describe_failure(told, "tail")
    assert (outcome.kind, outcome.error) == (OutcomeKind.HANDED_BACK, None)
    assert outcome.message == "a checkpoint was not saved"


def no_room() -> CheckpointError:
    error = CheckpointError("the checkpoint x could not be written")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return error


def test_a_save_without_room_is_left_out_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    board = Board()
    disk = FailedSaves(board, patience_seconds=60.0)
    assert not disk.tolerates(10, CheckpointError("damaged"), last=False)
    assert board.failed_save is None
    assert disk.tolerates(20, no_room(), last=False)
    assert disk.tolerates(30, no_room(), last=False)
    assert board.failed_save == 20
    told = "could not be written; training goes on, and the next save is the next try"
    assert caplog.messages == [f"the checkpoint x {told}"] * 2
    assert board.why_unsaved == ""
    disk.saved()
    assert board.failed_save is None
    away = CheckpointError("a checkpoint was not saved")
    away.__cause__ = ArtifactStoreAwayError("s3://models does not answer")
    assert disk.tolerates(40, away, last=False)
    assert (board.failed_save, board.why_unsaved) == (40, str(away.__cause__))
    board.close()


def test_the_last_save_waits_with_growing_pauses_and_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, pauses = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("training_worker.failed_saves.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("training_worker.failed_saves.time.sleep", sleep)
    board = Board()
    board.write(400, Phase.TRAINING, 7)
    disk = FailedSaves(board, patience_seconds=100.0)
    while disk.tolerates(400, no_room(), last=True):
        assert board.read() == (400, Phase.SAVING, 7, (0, 0, 0.0))  # no stall meanwhile
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 8.5]
    disk.saved()
    assert disk.tolerates(400, no_room(), last=True)
    assert pauses[-1] == 0.5
    board.close()


def test_a_place_whose_count_stays_the_same_is_lost() -> None:
    places = PlaceCounts(nodes=3, patience_seconds=5.0)
    places.observe({1: 1, 2: 1}, 0.0)
    places.observe({1: 2, 2: 1}, 4.0)
    assert places.lost is None
    places.observe({1: 2, 2: 1}, 5.0)
    assert places.lost == 2
    assert not PlaceCounts(nodes=1, patience_seconds=5.0).expected


def test_work_on_other_machines_is_a_sign_of_life() -> None:
    board = Board()
    board.pulse()
    board.show_work_elsewhere(3)
    before = board.pulses
    board.show_work_elsewhere(4)
    assert board.pulses == before + 1
    board.close()


def test_a_place_that_has_ended_is_lost_soon_unless_it_was_done() -> None:
    places = PlaceCounts(nodes=3, patience_seconds=15.0)
    for now in (0.0, 100.0):
        places.observe({1: PLACE_DONE, 2: int(now)}, now)
    assert places.lost is None
    places.observe({1: PLACE_DONE, 2: PLACE_LOST}, 103.0)
    assert places.lost is None  # rank 0 may be about to report why
    places.observe({1: PLACE_DONE, 2: PLACE_LOST}, 106.0)
    assert places.lost == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names of interfaces")
def test_an_address_leads_to_its_interface() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.1") == ""  # of documentation, so of no machine
