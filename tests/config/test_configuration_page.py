"""docs/configuration.md agrees with the schema and conf/."""

from tests.support.configuration_page import PAGE, render_page


def test_the_page_of_all_keys_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_page(), "write it: python -m tests.support.configuration_page"
