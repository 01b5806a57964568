"""Two processes train as one would, to the bit where that is promised, and end together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from app.training import CheckpointManager, TrainingConfig
from app.training.config import ConfigError, DistributedConfig
from app.training.distributed import Ranks, is_lost_peer, join
from app.training.inference import load_for_generation
from app.training.sampled_text import sample_pieces

PROGRAM = Path(__file__).with_name("distributed_runs.py")
MEASURED = ("loss", "lr", "grad_norm", "tokens_seen", "val_loss")
SAMPLES = 37
PROMPTS = ["A", "B2", "A", ""]


def spread(strategy: str, **config: Any) -> dict[str, Any]:
    return {"distributed": {"strategy": strategy}, **config}


def scenarios() -> list[dict[str, Any]]:
    """All that is run; each test looks at some of it."""
    found: list[dict[str, Any]] = []
    # The gradient of a key's bias is 0 but for rounding, which Adam would make as large as any.
    labelled = {"labelled": True, "samples": 48, "model": {"bias": False}}
    muon = {"optimizer_type": "muon", "muon_iterations": 3, "ema_decay": 0.9}
    pairs: dict[str, Any] = {"model": {"ngram_size": 3, "ngram_rows": 40, "mix_in_embedding": True}}
    frozen = {"freeze": ["token_embedding.*", "blocks.0.*"]}
    for strategy in ("ddp", "fsdp"):
        config = spread(strategy)
        resumed = spread(strategy, resume_from_checkpoint=True)
        parts: dict[str, Any] = {"folder": f"{strategy}-parts"}
        found += [
            {"name": f"{strategy}-straight", "config": config},
            {"name": f"{strategy}-1", **parts, "config": config, "event": {"stop_in": 3}},
            {"name": f"{strategy}-2", **parts, "config": resumed, "event": {"stop_in": 5}},
            {"name": f"{strategy}-3", **parts, "config": resumed},
            {"name": f"{strategy}-even", "config": config, "dropout": 0.0},
            {"name": f"{strategy}-labelled", "config": config, "dropout": 0.0, **labelled},
            {"name": f"{strategy}-muon", "config": config | muon, "dropout": 0.0, **pairs},
            {"name": f"{strategy}-frozen", "config": config | frozen, "dropout": 0.0},
        ]
    config = spread("ddp", max_steps=5)
    # Wide enough that a gradient bucket is summed in pieces, each beginning with another process.
    three: dict[str, Any] = {"processes": 3, "model": {"hidden_size": 64}, "config": config}
    parts = {**three, "folder": "three-parts", "samples_text": True}
    sampled = config | {"sample_prompts": PROMPTS, "sample_tokens": 5}
    found += [
        {"name": "three-straight", **three},
        {"name": "three-1", **parts, "config": sampled, "event": {"stop_in": 3}},
        {"name": "three-2", **parts, "config": sampled | {"resume_from_checkpoint": True}},
    ]
    moved: dict[str, Any] = {"folder": "moved"}
    there = spread("fsdp", max_steps=2)
    again = {"resume_from_checkpoint": True}
    one = {"batch_size": 8, "distributed": None}
    begun = {"begins_with": "ddp-even"}
    lora: dict[str, Any] = {"lora": {"rank": 3, "targets": ["attention", "mlp.up"]}}
    adapted = {"processes": 1, **begun, "config": one | again | {"save_steps": 2}}
    adapted["config"] |= {"lora": lora["lora"] | {"dropout": 0.2}}
    found += [
        {"name": "one-even", "processes": 1, "config": one, "dropout": 0.0},
        {"name": "one-muon", "processes": 1, "config": one | muon, "dropout": 0.0, **pairs},
        {"name": "one-frozen", "processes": 1, "config": one | frozen, "dropout": 0.0},
        {
            "name": "one-labelled",
            "processes": 1,
            "config": {"batch_size": 16, "gradient_accumulation_steps": 1, "distributed": None},
            "dropout": 0.0,
            **labelled,
        },
        {"name": "moved-1", **moved, "config": there},
        {"name": "moved-2", **moved, "processes": 1, "config": one | again | {"max_steps": 3}},
        {"name": "moved-3", **moved, "config": spread("ddp", max_steps=5, **again)},
        {"name": "one-lora", "processes": 1, "config": one | lora, "dropout": 0.0, **begun},
        {"name": "ddp-lora", "config": spread("ddp") | lora, "dropout": 0.0, **begun},
        {"name": "fsdp-lora", "config": spread("fsdp") | lora, "dropout": 0.0, **begun},
        {"name": "lora-straight", **adapted},
        {"name": "lora-killed", **adapted, "folder": "lora-parts", "event": {"kill_before": 6}},
        {"name": "lora-resumed", **adapted, "folder": "lora-parts"},
        {"name": "poisoned", "config": spread("ddp"), "event": {"poison_before": 1, "in_rank": 1}},
        {"name": "raising", "config": spread("ddp"), "event": {"raise_before": 3, "in_rank": 1}},
        {"name": "killed", "config": spread("fsdp"), "event": {"kill_before": 3, "in_rank": 1}},
        {"name": "asked-in-1", "config": spread("ddp"), "event": {"stop_in": 4, "in_rank": 1}},
    ]
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all scenarios have run."""
    folder = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-P", str(PROGRAM), str(folder), json.dumps(scenarios())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def result(runs: Path, name: str, rank: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((runs / f"{name}.{rank}.json").read_text())
    return found


def failure(runs: Path, name: str) -> list[Any]:
    found: list[Any] = json.loads((runs / f"{name}.failed.json").read_text())
    return found


def newest(folder: Path) -> dict[str, Any]:
    manager = CheckpointManager(folder)
    return manager.load_state(str(manager.get_latest_checkpoint()))


def tensors(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    moments = state["optimizer_state_dict"]["state"]
    kept = {f"{i}.{name}": v for i, entry in moments.items() for name, v in entry.items()}
    return {**state["model_state_dict"], **kept}


def history(folder: Path) -> list[tuple[Any, ...]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], *(line.get(name) for name in MEASURED)) for line in lines]


def assert_same_runs(first: Path, second: Path) -> None:
    expected, found = tensors(newest(first)), tensors(newest(second))
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert history(first) == history(second)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_resumes_are_bitwise_one_run(runs: Path, strategy: str) -> None:
    assert [result(runs, f"{strategy}-{part}")["step"] for part in (1, 2, 3)] == [3, 5, 8]
    assert result(runs, f"{strategy}-3")["notes"] == []
    assert_same_runs(runs / f"{strategy}-straight", runs / f"{strategy}-parts")
    straight = newest(runs / f"{strategy}-straight")
    assert straight["environment"]["processes"] == f"2 ({strategy})"


def test_adapters_of_a_killed_run_are_bitwise_those_of_one_that_was_not(runs: Path) -> None:
    assert failure(runs, "lora-killed")
    # The save of step 4 may have been under way still.
    assert result(runs, "lora-resumed")["resumed_at"] in (2, 4)
    assert_same_runs(runs / "lora-straight", runs / "lora-parts")


def test_sums_over_three_processes_keep_their_order_through_a_resume(runs: Path) -> None:
    assert [result(runs, f"three-{part}")["step"] for part in (1, 2)] == [3, 5]
    assert_same_runs(runs / "three-straight", runs / "three-parts")


def test_processes_share_the_prompts_and_no_weight_changes_by_them(runs: Path) -> None:
    """The run in parts has prompts, the straight one has none: see the test before this one."""
    lines = (runs / "three-parts" / "samples.jsonl").read_text().splitlines()
    found = {line["step"]: line["samples"] for line in map(json.loads, lines)}
    assert ([*found], len(lines)) == ([3, 5], 2)
    model, tokenizer = load_for_generation(next((runs / "three-parts").glob("*_5.pt")))
    options: dict[str, Any] = {"max_tokens": 5, "temperature": 0.8, "seed": 1337}
    for sample, prompt in zip(found[5], PROMPTS, strict=True):
        pieces = sample_pieces(model, tokenizer, prompt, **options)
        assert sample == {"prompt": prompt, "text": "".join(piece.text for piece in pieces)}


@pytest.mark.parametrize("kind", ["even", "frozen", "labelled", "lora", "muon"])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_learns_from_their_batches_together(
    runs: Path, strategy: str, kind: str
) -> None:
    one, two = newest(runs / f"one-{kind}"), newest(runs / f"{strategy}-{kind}")
    assert one["model_state_dict"].keys() == two["model_state_dict"].keys()
    expected, found = tensors(one), tensors(two)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=2e-5, msg=name)
    pairs = zip(history(runs / f"one-{kind}"), history(runs / f"{strategy}-{kind}"), strict=True)
    for row, wanted in pairs:
        assert row[:5] == pytest.approx(wanted[:5], rel=1e-4)
        assert row[5] == (wanted[5] and pytest.approx(wanted[5], rel=1e-4))
        assert row[4] == wanted[4]  # every token counts once


def test_an_epoch_is_shared_out_whole_and_without_overlap(runs: Path) -> None:
    asked = [result(runs, "ddp-straight", rank)["asked"] for rank in (0, 1)]
    # 37 samples are four global batches of 8 and one of 5, two and three.
    epoch = asked[0][:18] + asked[1][:19]
    assert sorted(epoch) == list(range(SAMPLES))


def test_processes_draw_different_numbers(runs: Path) -> None:
    state = newest(runs / "ddp-straight")
    [other] = state["rng_states_of_others"]
    assert not torch.equal(state["rng_state"]["torch"], other["torch"])


def test_a_run_moves_between_strategies_and_numbers_of_processes(runs: Path) -> None:
    assert [result(runs, f"moved-{part}")["resumed_at"] for part in (1, 2, 3)] == [0, 2, 3]
    assert result(runs, "moved-2")["notes"] == ["processes is 1 and was 2 (fsdp)"]
    assert result(runs, "moved-3", 1)["notes"] == ["processes is 2 (ddp) and was 1"]
    assert [row[0] for row in history(runs / "moved")] == [1, 2, 3, 4, 5]
    # 16 samples a step: two steps take 32 of the epoch, and the third, alone, the other 5.
    epoch = [*result(runs, "moved-1")["asked"], *result(runs, "moved-1", 1)["asked"]]
    epoch += result(runs, "moved-2")["asked"][: SAMPLES - len(epoch)]
    assert sorted(epoch) == list(range(SAMPLES))


def test_all_processes_refuse_a_loss_that_is_bad_in_one(runs: Path) -> None:
    for rank in (0, 1):
        told = result(runs, "poisoned", rank)["error"]
        assert told.startswith("NonFiniteLossError: the loss of step 1 is not finite (data posit")
        assert "epoch 0, 16 samples from 0 on" in told
    assert failure(runs, "poisoned")[1] == 1


def test_an_error_in_one_process_ends_the_others(runs: Path) -> None:
    assert result(runs, "raising", 1)["error"] == "ValueError: nothing to read before step 3"
    rank, code, text = failure(runs, "raising")
    assert (rank, code) == (1, 1)
    assert "process 1 of 2 (counted from 0) exited with code 1, and the run with it" in text


def test_a_killed_process_ends_the_others(runs: Path) -> None:
    rank, code, text = failure(runs, "killed")
    assert (rank, code) == (1, -9)
    assert "process 1 of 2 (counted from 0) was ended by SIGKILL, and the run with it" in text


def test_a_stop_asked_of_one_process_stops_all_at_one_step(runs: Path) -> None:
    assert [result(runs, "asked-in-1", rank)["step"] for rank in (0, 1)] == [4, 4]
    assert [result(runs, "asked-in-1", rank)["stopped"] for rank in (0, 1)] == [True, True]
    assert newest(runs / "asked-in-1")["step"] == 4


def test_only_the_first_process_writes(runs: Path) -> None:
    assert sorted(path.name for path in (runs / "ddp-straight").iterdir()) == [
        ".lock",
        "checkpoint_step_8.json",
        "checkpoint_step_8.pt",
        "config.yaml",
        "metrics.jsonl",
    ]


Config = Callable[..., TrainingConfig]


def test_a_process_among_several_must_know_it(
    small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = "this is one of 2 processes, and `distributed` is not set: each would train the whole r"
    with pytest.raises(ConfigError, match=told):
        join(small_config())
    told = "`distributed.processes` is 3, and this is one of 2 processes; start as many"
    with pytest.raises(ConfigError, match=told):
        join(small_config(distributed=DistributedConfig("ddp", 3)))


def test_several_processes_cannot_share_one_named_device(
    small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = "`device` is 'cuda:1', one device, and the run has 2 processes; use cuda, where each ha"
    with pytest.raises(ConfigError, match=told):
        join(small_config(device="cuda:1", distributed=DistributedConfig("ddp", 2)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells of a machine without CUDA")
def test_more_processes_than_devices_are_refused(
    small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = "`distributed.processes` is 2 and this machine has 0 CUDA devices; each process needs"
    with pytest.raises(ConfigError, match=told):
        join(small_config(device="cuda", distributed=DistributedConfig("ddp", 2)))


def test_one_process_agrees_with_itself() -> None:
    alone = Ranks(torch.device("cpu"))
    assert (alone.any(True), alone.any(False), alone.sum(3)) == (True, False, 3)
    assert alone.gather({"a": 1}) == [{"a": 1}]
    assert alone.broadcast("text") == "text"
    assert alone.description == "1"


def test_a_lost_connection_is_told_from_other_errors() -> None:
    assert is_lost_peer(RuntimeError("[/gloo/tcp/pair.cc:534] Connection closed by peer [::1]"))
    assert not is_lost_peer(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_lost_peer(ValueError("Connection closed by peer"))
