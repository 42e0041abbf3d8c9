"""The pages: the index lists each one, every link leads somewhere, and phrases that readers stumbled over stay away."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Each was read twice by a native reader; none of them says anything that a plain verb does not.
STUMBLES = r"\b(told|keyed|so many|goes on|stands? beside|there already|is there twice|allowed is|answers? to task)\b"


def links_of(page: Path) -> list[str]:
    """Return the targets of a page's links, without those that lead out of the repository."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]


def anchors_of(page: Path) -> set[str]:
    """Return what a link may name after #: the page's headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_lists_every_page() -> None:
    listed = {link.removeprefix("../") for link in links_of(ROOT / "docs" / "index.md")}
    assert listed >= {page.name for page in PAGES} - {"index.md"}


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    for page in PAGES:
        for link in links_of(page):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors_of(target), f"{page.name}: {link}"


def test_no_sentence_has_a_phrase_that_readers_stumbled_over() -> None:
    kinds = (".py", ".yaml", ".md", ".txt", ".html", ".jinja", ".tex")
    files = [*PAGES, *(path for name in ("glue_bench", "conf") for path in (ROOT / name).rglob("*") if path.is_file())]
    for path in files:
        if path.suffix in kinds:
            found = re.search(STUMBLES, path.read_text("utf-8"))
            assert found is None, f"{path.relative_to(ROOT)}: {found and found[0]}"
