"""The report in headless Chromium: what the check finds on pages that are wrong, and that reports are not (slow)."""

import shutil

import pytest
from results_fixture import write_results
from runs_fixture import fill_workplace
from scripts_fixture import ROOT
from test_report import RUN, run_command

from boxes.records import UserError, write_text
from paper import browser_check

needs_browser = pytest.mark.skipif(
    not any(map(shutil.which, browser_check.BROWSERS)), reason="no chromium on the PATH (make report-check needs it)"
)
PAGE = '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">\n'
STYLE = "<style>:root { color-scheme: light dark } body { background: Canvas; color: CanvasText }</style>"


def test_without_a_browser_or_a_page_it_says_so(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such file; `make all` writes it"):
        browser_check.check(tmp_path / "report.html", tmp_path)
    monkeypatch.setattr(browser_check, "BROWSERS", ("no-such-browser",))
    write_text(tmp_path / "report.html", PAGE)
    with pytest.raises(UserError, match="no chromium on the PATH; install it"):
        browser_check.check(tmp_path / "report.html", tmp_path)


SEEN = {"width": 390, "needed": 390, "dark": False, "fetched": 0, "contrast": 7.0, "faint": 'a "quoted" text'}


@pytest.mark.parametrize(
    ("changes", "says"),
    [({}, []), ({"needed": 391}, ["391 pixels wide in a window of 390"]),
     ({"width": 500}, ["shown 500 pixels wide, not 390"]), ({"dark": True}, ["shown in the dark scheme"]),
     ({"fetched": 2}, ["fetched 2 resources"]),
     ({"contrast": 4.4}, ["contrast 4.4 of 'a \"quoted\" text', less than 4.5"])],
)  # fmt: skip
def test_measurements_that_speak_against_a_page(changes, says):
    assert (
        browser_check.faults(["other", f"measured:{browser_check.json.dumps(SEEN | changes)}"], "phone-light") == says
    )
    assert browser_check.faults([], "phone-light") == ["nothing could be measured: the page did not load"]


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "says"),
    [(f"{STYLE}<p>Well.</p>", None),
     (f"{STYLE}<p>Well.</p><script>console.error('oh no')</script>", "console: oh no"),
     (f"{STYLE}<p>Well.</p><script>undefined_function()</script>", "undefined_function is not defined"),
     (f"{STYLE}<p style='width: 100rem'>Wide.</p>", "pixels wide in a window of 390"),
     (f"{STYLE}<p>Well.</p><img src='x.png' alt='none'>", "fetched 1 resources"),
     (f"{STYLE}<p style='opacity: .3'>Faint.</p>", "of 'Faint.', less than 4.5"),
     (STYLE + "<p style='break-after: page'>Long.</p>" * 12 + "<p>End.</p>", "13 pages in print, more than 12"),
     ("<style>body { background: #fff; color: #000 } @media (prefers-color-scheme: dark) { body { background: #000 } }</style>"
      "<p>Lost.</p>", "desktop-dark: contrast 1.0 of 'Lost.'")],
)  # fmt: skip
def test_each_fault_is_found(tmp_path, body, says):
    write_text(tmp_path / "report.html", PAGE + body)
    wrong = browser_check.check(tmp_path / "report.html", tmp_path / "screens")
    assert any(says in line for line in wrong) if says else wrong == []
    for view in browser_check.VIEWS:
        assert (tmp_path / "screens" / f"{view}.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "screens" / "report.pdf").read_bytes().startswith(b"%PDF")


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize(("profile", "models"), [("reported", None), ("tiny", None), ("paper", RUN), ("paper", [])])
def test_reports_have_no_fault(tmp_path, monkeypatch, profile, models):
    monkeypatch.chdir(ROOT)
    write_results(tmp_path, profile, models)
    assert run_command(monkeypatch, tmp_path, profile, tmp_path / "out") == 0
    assert browser_check.check(tmp_path / "out" / "report.html", tmp_path / "screens") == []


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("profile", ["reported", "tiny", "paper"])
def test_reports_of_whole_results_are_short_in_print(tmp_path, monkeypatch, profile):
    """With every row run and every claim of the committed reference; browser_check.check counts the pages."""
    monkeypatch.chdir(ROOT)
    write_results(tmp_path, profile)
    reference = ROOT / "data/reference" / ("tiny" if profile == "tiny" else "reported")
    for path in reference.glob("*.csv"):
        if profile != "paper" or path.stem == "claims":
            shutil.copy(path, tmp_path)
    assert run_command(monkeypatch, tmp_path, profile, tmp_path / "out") == 0
    assert browser_check.check(tmp_path / "out" / "report.html", tmp_path / "screens") == []
    assert browser_check.pages((tmp_path / "screens" / "report.pdf").read_bytes()) <= browser_check.MOST_PAGES


@needs_browser
@pytest.mark.slow
def test_a_report_with_statements_has_no_fault(tmp_path, monkeypatch):
    write_results(fill_workplace(tmp_path), "tiny", ["tiny-base", "tiny-code"])
    more = ("--data", tmp_path / "data.jsonl")
    assert run_command(monkeypatch, tmp_path, "tiny", tmp_path / "out", *more) == 0
    assert "<mark>nothing</mark>" in (tmp_path / "out" / "report.html").read_text()
    assert browser_check.check(tmp_path / "out" / "report.html", tmp_path / "screens") == []
