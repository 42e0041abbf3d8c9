"""The pages: the index lists each one, and every link leads somewhere."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def prose_of(page: Path) -> str:
    """Return a page's text without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)


def links_of(page: Path) -> list[str]:
    """Return the targets of a page's links, without those that lead out of the repository."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)) if not re.match("[a-z]+:", target)]


def anchors_of(page: Path) -> set[str]:
    """Return what a link may name after #: the page's headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), flags=re.MULTILINE)
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
