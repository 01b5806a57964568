"""Stored configurations."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Query, Response

from gateway.codec import page_to_json
from gateway.routes.declare import (
    NO_CONTENT,
    CallerOf,
    IdempotencyKey,
    answer,
    problems,
    request_id,
    router,
    rpc,
)
from gateway.schemas.base import PageQuery
from gateway.schemas.configs import (
    Config,
    ConfigPage,
    CreateConfigBody,
    CreatedConfig,
    ValidateConfigBody,
    Validation,
)
from training_engine.messages import message_to_plain
from training_engine.v1 import config_pb2

routes = router("configs")


def document(config: dict[str, Any] | str) -> str:
    """A configuration as text: the control plane alone reads and validates it."""
    if isinstance(config, str):
        return config
    return json.dumps(config, ensure_ascii=False, allow_nan=False)


@routes.post(
    "/configs",
    status_code=201,
    response_model=CreatedConfig,
    responses=problems(409, 413),
    openapi_extra=rpc("ConfigService.CreateConfig"),
)
async def create_config(
    body: CreateConfigBody, caller: CallerOf, idempotency_key: IdempotencyKey = ""
) -> Response:
    """Validate a configuration and store it."""
    created = await caller.call(
        caller.control_plane.configs.CreateConfig,
        config_pb2.CreateConfigRequest(
            name=body.name,
            config_document=document(body.config),
            request_id=request_id(idempotency_key, body.request_id),
        ),
    )
    config = message_to_plain(created)
    location = f"configs/{created.config.config_id}"
    return answer({**config["config"], "warnings": config["warnings"]}, 201, Location=location)


@routes.get(
    "/configs",
    response_model=ConfigPage,
    responses=problems(),
    openapi_extra=rpc("ConfigService.ListConfigs"),
)
async def list_configs(page: Annotated[PageQuery, Query()], caller: CallerOf) -> Response:
    """Stored configurations, newest first."""
    request = config_pb2.ListConfigsRequest(page_size=page.page_size, page_token=page.page_token)
    return answer(
        page_to_json(await caller.call(caller.control_plane.configs.ListConfigs, request))
    )


@routes.post(
    "/configs/validate",
    response_model=Validation,
    responses=problems(413),
    openapi_extra=rpc("ConfigService.ValidateConfig"),
)
async def validate_config(body: ValidateConfigBody, caller: CallerOf) -> Response:
    """Whether a start with this configuration and data would be accepted; nothing is stored."""
    request = config_pb2.ValidateConfigRequest(
        config_document=document(body.config),
        dataset_path=body.dataset_path or "",
        val_dataset_path=body.val_dataset_path or "",
    )
    return answer(
        message_to_plain(await caller.call(caller.control_plane.configs.ValidateConfig, request))
    )


@routes.get(
    "/configs/{config_id}",
    response_model=Config,
    responses=problems(404),
    openapi_extra=rpc("ConfigService.GetConfig"),
)
async def get_config(config_id: str, caller: CallerOf) -> Response:
    """One stored configuration."""
    request = config_pb2.GetConfigRequest(config_id=config_id)
    found = await caller.call(caller.control_plane.configs.GetConfig, request)
    return answer(message_to_plain(found.config))


@routes.delete(
    "/configs/{config_id}",
    status_code=NO_CONTENT,
    responses=problems(404, 409),
    openapi_extra=rpc("ConfigService.DeleteConfig"),
)
async def delete_config(
    config_id: str, caller: CallerOf, idempotency_key: IdempotencyKey = ""
) -> Response:
    """Delete a stored configuration. Jobs started from it keep their own copy."""
    request = config_pb2.DeleteConfigRequest(config_id=config_id, request_id=idempotency_key)
    await caller.call(caller.control_plane.configs.DeleteConfig, request)
    return Response(status_code=NO_CONTENT)
