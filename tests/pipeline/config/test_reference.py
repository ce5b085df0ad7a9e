"""The page about the configuration."""

from pipeline.config.reference import FILE, reference


def test_the_page_is_up_to_date():
    assert FILE.read_text(encoding="utf-8") == reference(), "run `make docs`"


def test_every_key_is_explained():
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 25
    assert not [row for row in rows if row.endswith("|  |")]
