"""Read pages of the report back, and make results folders for them."""

import csv
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from glue_bench.cli.report import read_defaults
from glue_bench.config.compose import compose_run
from glue_bench.data.rows import load_task_data
from glue_bench.data.sources import resolve_source
from glue_bench.report.page import Page, render_page
from glue_bench.report.page.entries import Entry, join_entries
from glue_bench.report.table import build_report
from glue_bench.runs.record import Record
from glue_bench.runs.store import RunStore
from glue_bench.tasks.published import load_published
from tests.support.making import DISTILROBERTA
from tests.support.making_results import write_run

VOID = {"meta", "link", "input", "br", "path", "use", "rect"}
HOSTILE = "<script>alert(1)</script> ]]> \"quoted\" 'single' & ${7*7} {{ 7*7 }} $\\frac{x}$ --> \u202egnp.exe a\u200bb"
HUGE = "x" * 5000
TRAPS = (HOSTILE, HUGE, "\u05d0\u05d1\u05d2")

PUBLISHED = load_published()


class Element:
    """One start tag of a page."""

    def __init__(self, tag: str, attributes: dict[str, str], parents: list[str]) -> None:
        self.tag, self.attributes, self.parents, self.text = tag, attributes, parents, ""


class Reader(HTMLParser):
    """The elements of a page, in order, with their own and their children's text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.declaration = list[Element](), ""
        self._open = list[Element]()
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {[element.tag for element in self._open]}"

    def handle_decl(self, decl: str) -> None:
        self.declaration = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(tag, attrs)
        if tag not in VOID:
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def _add(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        parents = [element.tag for element in self._open]
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}, parents))

    def of(self, *tags: str) -> list[Element]:
        return [element for element in self.elements if element.tag in tags]


def read_tables(text: str) -> dict[str, list[list[str]]]:
    """Map each caption to lines of cells, the head of the table first."""
    tables, lines = dict[str, list[list[str]]](), list[list[str]]()
    for element in Reader(text).of("table", "caption", "tr", "th", "td"):
        if element.tag == "table":
            lines = []
        elif element.tag == "caption":
            assert element.text not in tables, f"two tables with the caption {element.text}"
            tables[element.text] = lines
        elif element.tag == "tr":
            lines.append([])
        else:
            lines[-1].append(" ".join(element.text.split()))
    return tables


def read_summary(text: str) -> str:
    """Return the sentences under the page's title."""
    (lead,) = [element for element in Reader(text).of("p") if element.attributes.get("class") == "lead"]
    return " ".join(lead.text.split())


def page_of(results_dir: Path) -> Page:
    store = RunStore(results_dir)
    records = list(store.load_all())
    report = build_report(records, PUBLISHED, store=store)
    return Page(report=report, records=records, entries=join_entries(report, store), defaults=read_defaults())


def entries_of(results_dir: Path) -> list[Entry]:
    store = RunStore(results_dir)
    records = list(store.load_all())
    return join_entries(build_report(records, PUBLISHED, store=store), store)


def render_folder(results_dir: Path) -> str:
    return render_page(page_of(results_dir))


def check_structure(text: str) -> Reader:
    """Check what must be true of every page."""
    reader = Reader(text)
    ids = [element.attributes["id"] for element in reader.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in reader.elements:
        for name, value in element.attributes.items():
            if name in ("aria-labelledby", "aria-describedby"):
                assert set(value.split()) <= set(ids), (element.tag, value)
            if name in ("href", "src", "xlink:href"):
                assert value == "data:," or (value[0] == "#" and value[1:] in ids), (element.tag, value)
            assert not name.startswith("on"), (element.tag, name)
            for target in re.findall(r"url\(([^)]*)\)", value):
                assert target[0] == "#", value
                assert target[1:] in ids, value
    assert not reader.of("script", "iframe", "object", "embed", "img", "base", "form")
    for element in reader.of("svg"):
        assert element.attributes["role"] == "img"
        assert {"aria-labelledby", "aria-describedby"} <= element.attributes.keys()
    assert len(reader.of("title")) == len(reader.of("svg")) + 1
    assert all(element.text.strip() for element in reader.of("title", "desc", "caption", "h1", "h2", "h3", "summary"))
    assert len(reader.of("caption")) == len(reader.of("table"))
    assert all(element.attributes.get("scope") in ("col", "row") for element in reader.of("th"))
    levels = [int(element.tag[1]) for element in reader.of("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))
    assert reader.declaration == "DOCTYPE html"
    assert [element.tag for element in reader.of("header", "main", "footer")] == ["header", "main", "footer"]
    return reader


def hostile_record(tmp_path: Path, *, count: int = 5, **changes: Any) -> Record:
    """Make a run whose rows and encoder name are full of traps."""
    folder = tmp_path / "rows" / "sst2"
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
            lines = csv.writer(stream)
            lines.writerow(("sentence", "label"))
            lines.writerows(
                (f"{trap} {row}", row % 2) for row, trap in enumerate(itertools.islice(itertools.cycle(TRAPS), count))
            )
    words = ("data=local", f"data.path={tmp_path / 'rows'}")
    config = compose_run(["task=sst2", *words])
    data = load_task_data(resolve_source(config.data, config.task), config.data, task=config.task)
    facts = {
        "source": "local",
        "dataset": None,
        "revision": None,
        "fingerprint": data.fingerprint,
        "rows": dict(data.rows),
    }
    return write_run(
        tmp_path / "results",
        task="sst2",
        words=words,
        rows={"validation": count},
        **{"data": facts, "encoder": {**DISTILROBERTA, "name": HOSTILE}, "error": HOSTILE, **changes},
    )
