"""A report and a comparison of jobs, from records: what differs, what is escaped, what is drawn."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from training_engine.comparison import Comparison, series_csv
from training_engine.records import (
    Execution,
    JobRecord,
    JobStatus,
    SampledStep,
    SampledText,
    Series,
)
from training_engine.report import report_html

HOSTILE = '</title><script>alert(1)</script> & "=1+1'


def compared() -> Comparison:
    """Two jobs, one of them with a name, a field and a metric that want to be markup."""
    config = {"learning_rate": 3 * 0.1, "model_config": {"bias": True, "num_layers": 2}}
    other = {
        "learning_rate": 0.002,
        "model_config": {"bias": True, "num_layers": 2},
        HOSTILE: HOSTILE,
    }
    jobs = (
        JobRecord(job_id="job_1", name="plain", config=config, current_step=20),
        JobRecord(
            job_id="job_2",
            name=HOSTILE,
            config=other,
            status=JobStatus.FAILED,
            tags=("kept",),
            notes="try again",
            parent_job_id="job_1",
            fork_step=20,
            execution=Execution(nodes=2),
        ),
    )
    return Comparison(
        jobs,
        (
            Series("job_1", "loss", count=2, last=2.5, best=2.0, best_step=10),
            Series("job_1", "val_loss", count=1, last=3.0, best=3.0, best_step=20),
            Series("job_2", "loss"),
        ),
    )


def test_a_comparison_names_what_differs_and_the_best() -> None:
    found = compared()
    assert found.metrics == ["val_loss", "loss"]
    assert found.differences == {"learning_rate": (3 * 0.1, 0.002), HOSTILE: (None, HOSTILE)}
    assert found.of("job_2", "loss") is None
    first, second = csv.DictReader(found.csv().splitlines())
    assert (first["best val_loss"], first["last loss"], first["step"]) == ("3.0", "2.5", "20")
    assert (second["best loss"], second["learning_rate"]) == ("", "0.002")
    formula = Comparison((JobRecord(job_id="job_1", name="=1+1"),), ())
    assert next(csv.DictReader(formula.csv().splitlines()))["name"] == "'=1+1"
    points = series_csv([Series("job_1", "loss", x=(1.0,), y=(2.5,))], "tokens")
    assert points == "job_id,metric,tokens,value\njob_1,loss,1.0,2.5\n"


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_needs_nothing_else_and_escapes_everything() -> None:
    curves = [
        Series("job_1", "loss", x=(1.0, 10.0), y=(4.0, 2.0)),
        Series("job_2", "loss", x=(5.0,), y=(3.0,)),
    ]
    steps = [
        SampledStep(step, samples=(SampledText(HOSTILE, f"{HOSTILE}{step}"),))
        for step in (5, 10, 15, 20)
    ]
    recorded = {"job_1": steps, "job_2": steps[:1], "job_3": []}
    page = report_html(compared(), curves, {"job_2": [(HOSTILE, HOSTILE)]}, recorded)
    found = Tags(page)
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert found.tags.count("svg") == 3  # one picture, and a piece of each of its lines
    assert found.text.count(HOSTILE) >= 6  # name, field, value, legend, prompt, sample
    assert [f"{HOSTILE}{step}" in found.text for step in (5, 10, 15, 20)] == [
        True,
        True,
        False,
        True,
    ]
    assert "Step 5Step 10Step 20" in found.text
    picture = page[page.index("<svg viewBox") : page.index("</svg>") + 6]
    lines = [each.get("d") for each in ElementTree.fromstring(picture).iter("path")]
    assert "M62.0 10.0L628.0 226.0" in lines
    assert "M313.6 118.0h0" in lines  # a point alone is a dot
    for said in ("val_loss", "3 at step 20", "learning_rate", "num_layers", "failed", "kept",
                 "try again", "parent job idjob_1", "nothing logged yet", "nodes 2"):  # fmt: skip
        assert said in found.text
    assert "Execution(" not in found.text
    assert "learning_rate0.30.002" in found.text.replace("\n", "")


@pytest.mark.parametrize("values", [(-1.7e308, 1.7e308), (0.3, 0.1 + 0.2), (1e16, 1e16 + 2)])
def test_a_report_draws_values_whose_distance_is_no_number_or_noise(
    values: tuple[float, float],
) -> None:
    curves = [Series("job_1", "loss", x=(1.0, 2.0), y=values)]
    page = report_html(compared(), curves, {}, {})
    assert page.count("<path") > 2
    assert "nan" not in page[page.index("<svg") : page.index("</svg>")]
