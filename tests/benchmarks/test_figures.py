"""Figures of the docs are those of the records: a record that is gone, or says something else, is noticed."""

import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks" / "pages"))
figures = pytest.importorskip("figures")

RESULTS = {
    "n": 1200,
    "lite.net": {"accuracy": 0.91, "mean": 3},
    "rows": [
        {"scheme": "hill block=4", "budget": 1, "ssim": {"mean": 0.78}, "axes": {"model": "a"}},
        {"scheme": "hill block=4", "budget": 10, "ssim": {"mean": 0.9}, "axes": {"model": "b"}},
        {"scheme": "le", "budget": 10, "ssim": {"mean": 0.5}, "axes": {"model": "c"}},
    ],
    "per_key": [1.0, 2.0, 6.0],
}


@pytest.fixture
def results(tmp_path):
    (tmp_path / "some.json").write_text(json.dumps({"results": RESULTS}))
    return tmp_path


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("some:n:,", "1,200"),
        ("some:lite\\.net.accuracy:.1%", "91.0%"),
        ("some:lite\\.net.mean:", "3"),
        ("some:rows.0.budget:", "1"),
        ("some:rows.-1.scheme:", "le"),
        ("some:rows.scheme=hill block=4&budget=10.ssim.mean:.2f", "0.90"),
        ("some:rows.axes/model=c.ssim.mean:.1f", "0.5"),
        ("some:rows.scheme=hill block=4&*.ssim.mean.max:.2f", "0.90"),
        ("some:rows.*.ssim.mean.min:.2f", "0.50"),
        ("some:rows.budget=10&*.count:", "2"),
        ("some:per_key.mean:.1f", "3.0"),
    ],
)
def test_a_figure_is_that_of_its_record(results, where, shown):
    assert figures.show(where, results) == shown
    page = f"It reads <!--={where}--><!--/-->."
    filled, problems = figures.fill(page, results)
    assert filled == f"It reads <!--={where}-->{shown}<!--/-->." and not problems
    assert not figures.check(filled, results)


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("gone:n:", "there is no record results/gone.json"),
        ("some:m:", "there is no 'm'"),
        ("some:n.m:", "has no 'm'"),
        ("some:rows.9.budget:", "no item 9"),
        ("some:rows.scheme=ele.budget:", "no item has"),
        ("some:rows.scheme=hill block=4.budget:", "2 items have"),
        ("some:rows:.2f", "cannot be shown"),
        ("some:n", "not RECORD:PATH:FORMAT"),
    ],
)
def test_a_figure_without_a_record_is_named(results, where, told):
    problems = figures.check(f"It reads <!--={where}-->0.96<!--/-->.", results)
    assert len(problems) == 1 and where in problems[0] and told in problems[0]


def test_a_figure_that_is_not_the_record_s_is_named(results):
    problems = figures.check("All <!--=some:n:,-->1,201<!--/--> images.", results)
    assert problems == ["some:n:,: the page says '1,201', the record '1,200'"]


def test_a_figure_does_not_begin_a_line(results):
    assert figures.check("- <!--=some:n:,-->1,200<!--/--> images", results)


def test_the_pages_fail_where_a_record_is_gone(tmp_path, capsys):
    """All pages of docs/ against a copy of results/ from which a record that they name was removed."""
    assert figures.main(["--check"]) == 0
    copied = tmp_path / "results"
    shutil.copytree(ROOT / "results", copied)
    (copied / "leakage-cpu.json").unlink()
    assert figures.main(["--check", "--results", str(copied)]) == 1
    assert "there is no record results/leakage-cpu.json" in capsys.readouterr().err


def test_a_page_is_refreshed_in_place(results, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("All <!--=some:n:,-->old<!--/--> images.")
    assert figures.main([str(page), "--results", str(results)]) == 0
    assert page.read_text() == "All <!--=some:n:,-->1,200<!--/--> images."
    assert figures.main(["--check", str(page), "--results", str(results)]) == 0
