"""ConfigService: validates configurations and stores them under an id."""

from __future__ import annotations

import json

from app.training.config import FieldProblem, TrainingConfig
from app.training.memory import estimate_memory
from app.training.preflight import Findings
from control_plane.config_codec import to_document
from control_plane.config_reading import read_source, require_source
from control_plane.conversion import config_message, problem_messages
from control_plane.errors import invalid_argument
from control_plane.paging import page_size
from control_plane.planning import review_start
from control_plane.requests import check_name, idempotency
from control_plane.state import Context, Servicer
from job_store.unreadable import readable
from training_engine.v1 import config_pb2, config_pb2_grpc

_MOST_BYTES = 1 << 53


class ConfigServicer(Servicer, config_pb2_grpc.ConfigServiceServicer):
    """See `config.proto` for what each method promises."""

    async def CreateConfig(
        self, request: config_pb2.CreateConfigRequest, context: Context
    ) -> config_pb2.CreateConfigResponse:
        idempotency_key = idempotency(request, "CreateConfig")
        record = await self._state.configs.answered(idempotency_key)
        if record is None:
            name = check_name(request.name, required=True)
            source = request.WhichOneof("source")
            config = await require_source(request, source, self._state.configs)
            await self._state.journal.require()
            record = await self._state.configs.create(name, to_document(config), idempotency_key)
        else:  # not validated again: the rules may have changed since
            config, _ = TrainingConfig.read(json.loads(record.document))
        return config_pb2.CreateConfigResponse(
            config=config_message(record), warnings=problem_messages(config.warnings())
        )

    async def GetConfig(
        self, request: config_pb2.GetConfigRequest, context: Context
    ) -> config_pb2.GetConfigResponse:
        record = await self._state.configs.get(request.config_id)
        return config_pb2.GetConfigResponse(config=config_message(record))

    async def ListConfigs(
        self, request: config_pb2.ListConfigsRequest, context: Context
    ) -> config_pb2.ListConfigsResponse:
        page = await self._state.configs.list(page_size(request.page_size), request.page_token)
        configs = readable(config_message, [(record,) for record in page.items])
        return config_pb2.ListConfigsResponse(configs=configs, next_page_token=page.next_page_token)

    async def DeleteConfig(
        self, request: config_pb2.DeleteConfigRequest, context: Context
    ) -> config_pb2.DeleteConfigResponse:
        await self._state.configs.delete(request.config_id, idempotency(request, "DeleteConfig"))
        return config_pb2.DeleteConfigResponse()

    async def ValidateConfig(
        self, request: config_pb2.ValidateConfigRequest, context: Context
    ) -> config_pb2.ValidateConfigResponse:
        source = request.WhichOneof("source")
        if source is None:
            message = "the request has no configuration; give `config` or `config_document`"
            raise invalid_argument("config", message)
        config, problems = await read_source(request, source)
        findings = Findings(problems)
        if not problems:
            findings = await review_start(
                config, request.dataset_path, request.val_dataset_path, self._state
            )
        return _verdict(config, readable=not problems, findings=findings)


def _leaves_model(problem: FieldProblem) -> bool:
    """Whether the model was read as its author means it, in spite of this problem.

    It was not where the model itself is at fault. It may not have been where a key is unknown: the
    key may be `model_config` misspelt, or one of its fields in another place, so that the model has
    defaults instead.
    """
    key = problem.field.partition(".")[0]
    return key != "model_config" and key in config_pb2.TrainingConfig.DESCRIPTOR.fields_by_name


def _verdict(
    config: TrainingConfig, *, readable: bool, findings: Findings
) -> config_pb2.ValidateConfigResponse:
    verdict = config_pb2.ValidateConfigResponse(
        valid=not findings.problems,
        errors=problem_messages(findings.problems),
        warnings=problem_messages(findings.warnings),
    )
    if config.has_open_model():
        return verdict
    if readable or all(_leaves_model(problem) for problem in findings.problems):
        verdict.num_parameters = config.model_config.num_parameters()
    if readable:
        verdict.memory_estimate.CopyFrom(_memory_message(config))
    return verdict


def _memory_message(config: TrainingConfig) -> config_pb2.MemoryEstimate:
    """Return the estimate; a size above 2**53 bytes, where JSON's numbers end, is sent as 2**53."""
    estimate = estimate_memory(config)
    names = config_pb2.MemoryEstimate.DESCRIPTOR.fields_by_name
    sizes = {name: min(getattr(estimate, name), _MOST_BYTES) for name in names}
    return config_pb2.MemoryEstimate(**sizes)
