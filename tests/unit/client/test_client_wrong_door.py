"""An address that is no address, and a port that speaks the other protocol: the remedy is told."""

from __future__ import annotations

import pytest
from scripted_gateway import ScriptedGateway
from scripted_service import ScriptedService

from training_engine import InvalidArgumentError, TrainingEngine


def test_a_url_is_no_address() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        TrainingEngine("http://localhost:50051")
    assert str(refused.value) == (
        "the address is 'http://localhost:50051', and must be HOST:PORT: drop http://; "
        "if it is a gateway, use --url or TrainingEngine.over_rest"
    )


def test_grpc_to_a_gateway() -> None:
    gateway = ScriptedGateway()
    address = gateway.url.removeprefix("http://")
    try:
        with TrainingEngine(address) as engine, pytest.raises(InvalidArgumentError) as refused:
            engine.jobs.get("j1")
    finally:
        gateway.stop()
    assert str(refused.value) == (
        f"{address} speaks HTTP, not gRPC; for a gateway use --url {gateway.url}, or "
        f"TrainingEngine.over_rest('{gateway.url}')"
    )


def test_rest_to_a_control_plane(service: ScriptedService) -> None:
    url = f"http://{service.address}"
    with TrainingEngine.over_rest(url) as engine, pytest.raises(InvalidArgumentError) as refused:
        engine.jobs.get("j1")
    assert str(refused.value) == (
        f"{url} does not speak HTTP; if it is the control plane's gRPC port, use --address "
        f"{service.address}, or TrainingEngine(…) without over_rest"
    )


@pytest.mark.parametrize("field", ["dataset_path", "val_dataset_path"])
def test_empty_data_paths_are_refused(engine: TrainingEngine, field: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{field} is ''; give a path or dataset://ID"):
        engine.jobs.start(config={"max_steps": 5}, **{field: ""})  # type: ignore[arg-type]
