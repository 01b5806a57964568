"""What a recovery found, record by record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

_HEADINGS = ("id", "name", "state", "step", "checkpoints", "points", "remarks")


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one record."""

    kind: str
    """`job`, `config` or `dataset`."""
    id: str
    name: str = ""
    state: str = ""
    """The state in which a job came back; `recovered` for another record, and `left out` for one
    that did not come back."""
    step: int = 0
    """Step of a job's newest checkpoint."""
    checkpoints: int = 0
    points: int = 0
    """Logged steps in the history."""
    remarks: tuple[str, ...] = ()
    """What a person should know."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a recovery came to."""

    store: str
    """Id of the artifact store."""
    place: str
    already: bool = False
    """Whether this Redis had been recovered before, so that nothing was done."""
    findings: Sequence[Finding] = field(default_factory=tuple)

    def as_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(asdict(self), indent=2)

    def as_text(self) -> str:
        """Return the report as a table with a line for each record."""
        if self.already:
            return f"Redis was recovered from {self.place} ({self.store}) before: nothing to do"
        rows = [_HEADINGS, *(_row(finding) for finding in self.findings)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, self._sum()])

    def _sum(self) -> str:
        back = [finding for finding in self.findings if finding.state != "left out"]
        counts = {
            "jobs": sum(finding.kind == "job" for finding in back),
            "configurations": sum(finding.kind == "config" for finding in back),
            "datasets": sum(finding.kind == "dataset" for finding in back),
            "left out": len(self.findings) - len(back),
        }
        numbers = ", ".join(f"{count} {what}" for what, count in counts.items())
        return f"recovered from {self.place} ({self.store}): {numbers}"


def _row(finding: Finding) -> tuple[str, ...]:
    numbers = (finding.step, finding.checkpoints, finding.points)
    shown = map(str, numbers) if finding.kind == "job" else ("", "", "")
    return finding.id, finding.name, finding.state, *shown, "; ".join(finding.remarks)
