"""Documents: what is in them, and that nothing in them is taken for anything but text."""

import csv
import io
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from saetui.cli import cli
from saetui.features.results import Child, Context, TokenLogit
from saetui.reports import html, markdown
from saetui.reports.document import Block, ContextBlock, Document, Heading, Plot, Table, Text
from saetui.reports.study import report_document
from saetui.reports.svg import HEIGHT, WIDTH, Series, line_plot, scatter_plot
from saetui.runs.context import RunContext
from saetui.runs.cost import Cost
from saetui.runs.journal import Journal
from saetui.runs.store import Run, create_run
from saetui.settings import runs_root
from saetui.setup import Setup
from saetui.split.finding.report import SplitReport, Spread
from saetui.split.recipe import SplitRecipe
from saetui.studies.cells import Cell
from saetui.studies.results import CellResult, CurvePoint, QualityCurve, StudyReport
from saetui.studies.verdicts import REPORT_FILE
from tests.studies_support import saved, write

HOSTILE = "<script>alert('1')</script> & | `x` </li> ``` *b* [a](javascript:x)"
CONTEXT = Context(3, 2, 1, ["a\n", HOSTILE, " after"], [0.0, 2.5, 1.0])


class Checked(HTMLParser):
    """Collects tags and text, and whether what was opened was closed."""

    VOID = ("meta", "!doctype", "path", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def hostile() -> Document:
    plot = line_plot([Series(HOSTILE, [(0, 1), (1, 2)])], HOSTILE, HOSTILE)
    blocks: list[Block] = [
        Heading(HOSTILE), Text(HOSTILE), Table(HOSTILE, (HOSTILE, "b"), [(HOSTILE, "1\n2")], HOSTILE),
        ContextBlock([CONTEXT], ["✓"]), Plot(HOSTILE, plot),
    ]  # fmt: skip
    return Document(HOSTILE, blocks)


def test_in_html_everything_foreign_is_text() -> None:
    page = html.render(hostile())
    checked = Checked(page)
    assert "script" not in checked.tags and "a" not in checked.tags
    said = "".join(checked.text)
    # Title twice, heading, text, table (title, heading, cell, note), context, plot (caption, label, axes).
    assert said.count("<script>alert('1')</script>") == 13
    assert "http" not in page.replace("http://www.w3.org/2000/svg", ""), "self-contained"


def test_in_markdown_everything_foreign_is_text() -> None:
    text = markdown.render(hostile())
    outside, fenced, _ = re.split(r"^`{4,}$", text, flags=re.MULTILINE)
    assert "``` *b*" in fenced and "«<script>" in fenced, "a longer fence holds it as it is"
    assert "<script" not in outside.replace("\\<", "")
    assert not re.search(r"(?<!\\)[`*\[\]&]", outside)
    rows = [line for line in outside.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}


def test_plots_put_points_where_they_belong() -> None:
    svg = line_plot([Series("a", [(0, 0), (5, 10), (10, float("nan"))]), Series("b", [(10, 5)], 1)], "x", "y")
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    first, second = (line.attrib["points"].split() for line in root.iter(f"{space}polyline"))
    assert len(first) == 2 and len(second) == 1
    (x0, y0), (x1, y1), (x2, y2) = ((float(v) for v in p.split(",")) for p in (*first, *second))
    assert x0 < x1 < x2 and x2 - x1 == pytest.approx(x1 - x0, abs=0.2)
    assert y1 < y2 < y0 and y0 - y2 == pytest.approx(y2 - y1, abs=0.2)
    assert all(0 <= x <= WIDTH for x in (x0, x1, x2)) and all(0 <= y <= HEIGHT for y in (y0, y1, y2))
    assert {"a", "b", "x", "y", "0", "10"} <= {text.text for text in root.iter(f"{space}text")}
    named = scatter_plot([Series("s", [(1, 1), (2, 3)], labels=["<one>", "two"])], "x", "y")
    assert [t.text for t in ElementTree.fromstring(named).iter(f"{space}title")] == ["<one>", "two"]
    assert line_plot([Series("none", [])], "x", "y") == "" == scatter_plot([], "x", "y")


def test_a_line_has_its_spread_behind_it_and_a_legend_that_wraps() -> None:
    names = [f"a rather long name, number {i}" for i in range(8)]
    band = [(0.0, 0.5, 2.0), (1.0, 1.0, 9.0)]
    series = [Series(name, [(0, 1), (1, 2)], i, band=band if i == 0 else ()) for i, name in enumerate(names)]
    root = ElementTree.fromstring(line_plot(series, "x", "y"))
    space = "{http://www.w3.org/2000/svg}"
    (polygon,) = root.iter(f"{space}polygon")
    ends = [tuple(map(float, point.split(","))) for point in polygon.attrib["points"].split()]
    assert len(ends) == 4 and min(y for _, y in ends) > 0, "the axis reaches as high as the band"
    texts = {
        text.text: (float(text.attrib["x"]), float(text.attrib["y"])) for text in root.iter(f"{space}text")
    }
    assert all(texts[name][0] + 7 * len(name) <= WIDTH for name in names)
    assert all(texts[name][1] < float(root.attrib["height"]) for name in names)
    dashes = [line.attrib.get("stroke-dasharray") for line in root.iter(f"{space}polyline")]
    assert [bool(dash) for dash in dashes] == [False] * 6 + [True] * 2, "colours are used up"


def test_a_context_shows_where_its_feature_fires() -> None:
    page = html.render(Document("t", [ContextBlock([CONTEXT])]))
    assert page.count("background: rgba(var(--hot), 0.65)") == 1, "the strongest token"
    assert page.count("background: rgba(var(--hot), 0.26)") == 1
    assert "2.50</i>" in page


@pytest.fixture
def run() -> Run:
    recipe = SplitRecipe(target=7, d_sae=64, init="random", seed=5)
    run = create_run(runs_root(), "split", Setup("synthetic", device="cpu"), recipe, "for the appendix")
    child = Child(12, 0.5, 0.6, 0.9, 0.7, [CONTEXT], [TokenLogit("<b>", 1.0)])
    spread = Spread(0.8, 0.7, 0.9)
    report = SplitReport(7, 2.0, 1000, 90, "split", "because", [child], [], spread, 0.5, 0.25, spread, spread)
    (run.folder / REPORT_FILE).write_text(json.dumps(asdict(report)))
    with RunContext(run) as context:
        context.event("running")
        context.event("inputs", model="m0del", sae="5ae", data="da7a")
        for tokens in (0, 1000, 2000):
            found = [{"child": "count", "f1": tokens / 4000}]
            context.metric(tokens=tokens, eval=True, fvu=1 - tokens / 4000, l0=3.0, children=found)
            context.metric(tokens=tokens + 10, loss=5.0, lm_s=1.0, sae_s=1.0, tokens_read=tokens * 2)
    (run.folder / "sae").mkdir()
    (run.folder / "sae" / "cfg.json").write_text("{}")
    (run.folder / "sae" / "sae_weights.safetensors").touch()
    return run


def export(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["export", *arguments])


def test_a_run_as_html_holds_what_repeats_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    assert export(run.id, "-o", str(file)).exit_code == 0
    page = file.read_text()
    checked = Checked(page)
    said = " ".join(checked.text)
    for part in ("for the appendix", "m0del", "5ae", "da7a", "torch", "44136fa355b3", "split: because"):
        assert part in said, part
    for part in ("child 12", "<b>", "<script>alert('1')</script>", "F1 of the expected children"):
        assert part in said, part
    assert checked.tags.count("svg") == 4, "loss, FVU, L0 and F1"
    as_json = json.loads(export(run.id, "--format", "json").stdout)
    assert as_json["inputs"] == {"model": "m0del", "sae": "5ae", "data": "da7a"}
    assert as_json["recipe"]["seed"] == 5 and as_json["report"]["kind"] == "split"
    assert as_json["cost"]["tokens_read"] == 4000


def test_a_run_as_csv_is_its_curve(run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(export(run.id, "--format", "csv").stdout)))
    assert len(rows) == 6
    assert [float(row["f1 count"]) for row in rows if row["eval"]] == [0, 0.25, 0.5]


def test_a_study_is_its_tables_and_the_median_over_seeds(run: Run) -> None:
    cells, curves = [], []
    for seed, f1 in ((1, 0.2), (2, 0.8), (3, 0.4)):
        cell = Cell(f"a.f7.s{seed}", "a", "", {**SplitRecipe(target=7, d_sae=64).to_dict(), "seed": seed})
        cost = Cost(2000, 4000, 4000, 1.0, 1.0, 2.0)
        result = CellResult(cell, run.id, "finished", f1={"count": f1}, fvu=0.5, l0=3.0, dead=0.1, cost=cost)
        cells.append(result)
        points = tuple(CurvePoint(t, 2 * t, 1.0, 1.0, f1 * t / 2000, None, 1, 1, 0.5) for t in (1000, 2000))
        curves.append(QualityCurve(cell.id, "a", 7, seed, points))
    report = StudyReport(
        "mine", "A title", "split", {"model": "synthetic"}, tuple(cells), (), tuple(curves), (), (), ()
    )
    document = report_document(report, [run], f'title = "A title"\n# {HOSTILE}')
    (plot,) = [block for block in document.blocks if isinstance(block, Plot)]
    measure = "mean F1 of the expected children"
    expected = line_plot([Series("a", [(1000, 0.2), (2000, 0.4)])], "tokens trained on", measure)
    assert plot.svg == expected, "the median of 0.2, 0.4 and 0.8"
    text = markdown.render(document)
    assert text.startswith("# mine: a study of 3 runs\n\nA title. 3 of 3 runs are finished.")
    for part in (
        "| m0del |",
        "| model | synthetic |",
        "e3b0c44298fc",
        "| d\\_sae | 64 |",
        'title = "A title"',
    ):
        assert part in text or part.replace("\\", "") in text, part
    assert "| seed |" not in text.partition("Recipe of every run")[2], "it is not every run's"
    assert "child 12" in text, "without criteria the split report is the evidence"
    Checked(html.render(replace(document, title=HOSTILE)))


def test_a_study_is_exported_by_its_name(tmp_path: Path) -> None:
    study = saved(write(tmp_path, "[axes]\nseed = [1, 2]\n"))
    (cell, _) = study.plan.cells
    recipe = SplitRecipe.from_dict(cell.recipe)
    run = create_run(study.runs_root, "split", Setup.from_dict(study.plan.setup), recipe)
    with RunContext(run) as context:
        context.event("running")
        context.metric(tokens=100, eval=True, fvu=0.25, l0=3.0, children=[{"child": "count", "f1": 0.5}])
        context.event("exit", state="finished")
    with Journal(study.events_path) as events:
        events.append(kind="run", cell=cell.id, run=run.id)
    rows = list(csv.DictReader(io.StringIO(export(study.name, "--format", "csv").stdout)))
    assert [(row["seed"], row["run"], row["f1 count"]) for row in rows] == [
        ("1", run.id, "0.5"),
        ("2", "", ""),
    ]
    page = export(study.name, "--format", "html").stdout
    assert "1 of 2 runs are finished" in "".join(Checked(page).text)
    values = json.loads(export(study.name, "--format", "json").stdout)
    assert values["cells"][0]["run"] == run.id and values["made"][run.id]["versions"] == run.manifest.versions
    assert values["file"] == study.text and "[axes]" in values["file"]


def test_a_name_that_is_neither_run_nor_study() -> None:
    error = export("nothing")
    assert "no run 'nothing'" in str(error.exception) and "nor is there such a study" in str(error.exception)
