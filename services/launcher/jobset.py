"""What the JobSet of a job is: a copy of the template, for one job and its number of nodes."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

TEMPLATE_LABEL = "training-engine/template"
"""On a copy: the name of its template. What lacks it is never deleted."""
JOB_LABEL = "training-engine/job"
"""On a copy and on its pods: the id of their job."""
KUEUE_LABEL = "kueue.x-k8s.io/queue-name"
ONLY_JOB = "TRAINING_ENGINE_ONLY_JOB"
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class TemplateError(Exception):
    """No copy can be made of the template; the text says why."""


@dataclass(frozen=True, slots=True)
class Launched:
    """A JobSet of this launcher, as the API server lists it."""

    name: str
    uid: str
    job_id: str
    is_leaving: bool
    """It is being deleted."""
    has_ended: bool
    """It runs no pods any more: it is completed, or has failed."""


def name_of(job_id: str) -> str:
    """Return the name of a job's JobSet: always the same, so that there cannot be two."""
    return job_id.replace("_", "-")


def launched(manifest: Manifest) -> Launched:
    """Read what the API server lists."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    conditions = status.get("conditions") or []
    ended = {one["type"] for one in conditions if one.get("status") == "True"}
    return Launched(
        name=metadata["name"],
        uid=metadata["uid"],
        job_id=metadata["labels"].get(JOB_LABEL, ""),
        is_leaving="deletionTimestamp" in metadata,
        has_ended=bool(ended & {"Completed", "Failed"}),
    )


def jobset_of(template: Manifest, job_id: str, nodes: int, kueue_queue: str) -> Manifest:
    """Return a JobSet whose pods are the workers of one job.

    Raises:
        TemplateError: The template has not exactly one kind of pod.
    """
    spec = copy.deepcopy(template.get("spec") or {})
    groups = spec.get("replicatedJobs") or []
    name = template["metadata"]["name"]
    if len(groups) != 1:
        raise TemplateError(
            f"the JobSet {name!r}, which copies are made of, has {len(groups)} replicatedJobs; it "
            "must have one, whose pods are workers"
        )
    spec.pop("managedBy", None)  # the template has it so that it does not run
    spec["suspend"] = bool(kueue_queue)  # Kueue lets it go once all of its pods have room
    groups[0]["replicas"] = 1
    _fill_job(groups[0]["template"]["spec"], job_id, nodes)
    return {
        "apiVersion": template["apiVersion"],
        "kind": template["kind"],
        "metadata": _metadata(template["metadata"], job_id, kueue_queue),
        "spec": spec,
    }


def _metadata(given: Manifest, job_id: str, kueue_queue: str) -> Manifest:
    annotations = given.get("annotations") or {}
    marks = {TEMPLATE_LABEL: given["name"], JOB_LABEL: job_id}
    if kueue_queue:
        marks[KUEUE_LABEL] = kueue_queue
    return {
        "name": name_of(job_id),
        "labels": {**(given.get("labels") or {}), **marks},
        "annotations": {k: v for k, v in annotations.items() if k != _APPLIED},
    }


def _fill_job(job: Manifest, job_id: str, nodes: int) -> None:
    job |= {"parallelism": nodes, "completions": nodes, "completionMode": "Indexed"}
    metadata = job["template"].setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), JOB_LABEL: job_id}
    pod = job["template"]["spec"]
    pod.setdefault("restartPolicy", "OnFailure")
    variables = pod["containers"][0].setdefault("env", [])
    variables.append({"name": ONLY_JOB, "value": job_id})
