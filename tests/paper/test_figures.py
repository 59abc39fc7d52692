"""Figures 1-3: the artists of every panel are the scores, nothing is invented, rendering twice gives the same bytes."""

import sys

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from results_fixture import write_scores

from boxes.models.pairs import figure_panels
from boxes.models.table import NOT_CHOSEN, models_of
from boxes.records import read_csv, write_csv
from boxes.score_tables import BUCKETS, RANDOM
from paper import figures
from paper.results import REFERENCES, read_results
from paper.style import INK, STROKES

RUN = ["Llama-2-7b-hf", "CodeLlama-7b-hf", "llama-7b"]
TITLES = {
    1: ["DeepSeek (7B)", "Gemma (8B)", "Llama 2 (7B)", "Llama 2 (13B)", "Llama 2 (70B)"],
    2: ["FLoat (7B)", "OpenMathMistral (7B)", "DeepSeek-Math (7B)", "Llemma (7B)", "Llemma (34B)"],
}
TITLES[3] = TITLES[1] + ["DeepSeek-Coder (7B)", "CodeGemma (8B)", *(f"Code Llama ({s}B)" for s in (7, 13, 70))]
PROFILES = {"reported": ("reported", None), "partial": ("paper", RUN), "tiny": ("tiny", None)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """{profile: (results, {number: figure})}, each figure laid out."""
    made = {}
    for name, (profile, models) in PROFILES.items():
        results = read_results(profile, write_scores(tmp_path_factory.mktemp(name), profile, models))
        made[name] = results, {number: figures.draw(number, results) for number in figures.NUMBERS}
        for figure in made[name][1].values():
            figure.draw_without_rendering()
    return made


@pytest.fixture(params=[(name, number) for name in PROFILES for number in figures.NUMBERS], ids=str)
def case(drawn, request):
    name, number = request.param
    results, by_number = drawn[name]
    return results, number, by_number[number]


def hexadecimal(colour) -> str:
    return matplotlib.colors.to_hex(colour)


@pytest.mark.parametrize("number", figures.NUMBERS)
def test_panels_are_the_papers(drawn, number):
    figure = drawn["reported"][1][number]
    assert [axes.get_title() for axes in figure.axes] == TITLES[number]
    grid = figure.axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (2 if number == 3 else 1, 5)


def test_every_line_is_its_models_scores_with_their_intervals(case):
    results, number, figure = case
    panels = figure_panels(number, results.profile)
    assert len(figure.axes) == len(panels)
    for axes, panel in zip(figure.axes, panels, strict=True):
        run = [(spec, role) for _, spec, role in panel.lines if results.is_run(spec.name)]
        assert len(axes.containers) == len(run)
        for container, (spec, role) in zip(axes.containers, run, strict=True):
            line, caps, (bars,) = container
            scores = [results.score(spec.name, bucket) for bucket in BUCKETS]
            np.testing.assert_allclose(line.get_ydata().astype(float), [score.accuracy for score in scores])
            np.testing.assert_allclose(line.get_xdata().astype(float), range(8), atol=0.2)
            ends = [[score.low, score.high] for score in scores]
            np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], ends, atol=1e-9)
            assert len(caps) == 2
            stroke = STROKES[number][role]
            assert hexadecimal(line.get_color()) == hexadecimal(bars.get_color()[0]) == stroke.colour
            assert line.get_marker() == stroke.marker


def test_random_is_a_dashed_black_line_in_every_panel(case):
    results, _, figure = case
    expected = [results.score(RANDOM, bucket).accuracy for bucket in BUCKETS]
    for axes in figure.axes:
        (random,) = [line for line in axes.lines if line.get_label() == "_random"]
        assert hexadecimal(random.get_color()) == INK == "#000000"
        assert random.is_dashed()
        np.testing.assert_allclose(random.get_ydata(), expected)
        assert list(random.get_xdata()) == list(range(8))


def test_axes_run_from_0_to_7_operations_and_0_to_100_per_cent(case):
    _, _, figure = case
    for axes in figure.axes:
        assert list(axes.get_xticks()) == list(range(8))
        assert (axes.get_yticks()[0], axes.get_yticks()[-1]) == (0, 100)
        low, high = axes.get_ylim()
        assert low <= 0
        assert high >= 100
    assert figure.get_supxlabel() == "Number of operations affecting box state"
    assert figure.get_supylabel() == "Accuracy (%)"


def test_models_not_run_have_a_note_and_no_line(case):
    results, number, figure = case
    for axes, panel in zip(figure.axes, figure_panels(number, results.profile), strict=True):
        missing = [label for label, spec, _ in panel.lines if not results.is_run(spec.name)]
        notes = " ".join(text.get_text() for text in axes.texts).replace("\xa0", " ").replace("\n", " ")
        assert notes.count("not run") == len(missing)
        for label in missing:
            assert f"{label.replace('-', '')}: not run" in notes.replace("- ", "").replace("-", "")
        drawn_lines = [line for line in axes.lines if len(line.get_xdata())]
        assert len(drawn_lines) == 1 + 3 * (len(panel.lines) - len(missing))  # random; a line and its caps a model


def test_one_legend_is_shared_and_tells_roles_apart_without_colour(case):
    _, number, figure = case
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][-1] == "Random baseline"
    assert len(legend.get_texts()) == 3
    strokes = STROKES[number].values()
    assert len({stroke.marker for stroke in strokes}) == len({stroke.filled for stroke in strokes}) == len(strokes)
    assert not any(axes.get_legend() for axes in figure.axes)


def test_figure1_is_red_and_blue_and_figure3_orange_and_green():
    hues = {}
    for number, roles in STROKES.items():
        for role, stroke in roles.items():
            hues[number, role] = 360 * matplotlib.colors.rgb_to_hsv(matplotlib.colors.to_rgb(stroke.colour))[0]
    assert hues[1, "base"] % 345 < 15
    assert 200 < hues[1, "code"] < 250
    assert 20 < hues[3, "base"] < 45
    assert 90 < hues[3, "aligned"] < 170


def test_every_text_lies_inside_the_figure_and_titles_do_not_touch(case):
    _, _, figure = case
    box = figure.bbox.padded(1)
    for legend in figure.legends:
        assert box.containsx(legend.get_window_extent().x0)
        assert box.containsx(legend.get_window_extent().x1)
    texts = [text for axes in figure.axes for text in (axes.title, *axes.texts)]
    for text in (*texts, figure._supxlabel, figure._supylabel):
        extent = text.get_window_extent()
        assert box.containsx(extent.x0), text
        assert box.containsx(extent.x1), text
        assert box.containsy(extent.y0), text
        assert box.containsy(extent.y1), text
    for first, second in zip(figure.axes, figure.axes[1:], strict=False):
        if first.get_subplotspec().rowspan == second.get_subplotspec().rowspan:
            left = max(text.get_window_extent().x1 for text in (first.title, *first.texts))
            right = min(text.get_window_extent().x0 for text in (second.title, *second.texts))
            assert left < right


def test_an_empty_bucket_is_left_out(tmp_path):
    path = write_scores(tmp_path, "tiny") / "scores.csv"
    frame = read_csv(path)
    frame.loc[frame["num_ops"] == "7", "n"] = 0
    frame.loc[frame["num_ops"] == "7", ["accuracy", "ci_low", "ci_high"]] = None
    write_csv(path, frame)
    axes, _ = figures.draw(1, read_results("tiny", tmp_path)).axes
    assert [len(line.get_xdata()) for line in axes.lines if line.get_label() == "_random"] == [7]
    assert [len(container[0].get_xdata()) for container in axes.containers] == [7, 7]


@pytest.mark.parametrize(
    ("chosen", "panels"),
    [(["tiny-base"], {1: [1], 2: [1], 3: [1]}), (["tiny-code"], {1: [1, 1], 2: [], 3: [1]}),
     (["tiny-chat"], {1: [], 2: [], 3: [1, 1]})],
)  # fmt: skip
def test_models_that_were_not_chosen_have_neither_line_nor_panel(tmp_path, chosen, panels):
    write_scores(tmp_path, "tiny", chosen)
    runs = [(spec.name, "complete" if spec.name in chosen else NOT_CHOSEN) for spec in models_of("tiny")]
    write_csv(tmp_path / "runs.csv", pd.DataFrame(runs, columns=["model", "status"]))
    results = read_results("tiny", tmp_path)
    for number, lines in panels.items():
        figure = figures.draw(number, results)
        figure.draw_without_rendering()
        found = [len(axes.containers) for axes in figure.axes]
        texts = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert not any("not run" in text for text in texts)
        assert found == lines
        assert bool(figure.axes) == bool(lines)
        assert any("was chosen" in text.get_text() for text in figure.texts) == (not lines)


def test_the_picture_of_the_readme_is_the_reference_s(tmp_path):
    drawn = figures.draw(1, read_results("tiny", REFERENCES / "tiny"))
    (tmp_path / "new.png").write_bytes(figures.render(drawn, "png"))
    new, committed = (image.imread(path) for path in (tmp_path / "new.png", REFERENCES / "tiny" / "figure1.png"))
    assert new.shape == committed.shape
    assert np.abs(new - committed).mean() < 0.002  # make reference writes it anew


def test_rendering_twice_gives_the_same_bytes_without_dates_or_versions(tmp_path, monkeypatch):
    write_scores(tmp_path / "in", "tiny")
    contents = []
    for place, hour in (("one", "86400"), ("two", "946684800")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", hour)  # a date in the files would take this one
        words = ["figures.py", "--profile", "tiny", "--results", tmp_path / "in", "--out", tmp_path / place]
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        with pytest.raises(SystemExit) as stop:
            figures.main()
        assert stop.value.code == 0
        contents.append({path.name: path.read_bytes() for path in sorted((tmp_path / place).iterdir())})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {f"figure{number}.{kind}" for number in (1, 2, 3) for kind in ("pdf", "png")}
    for content in contents[0].values():
        assert content[:4] in (b"%PDF", b"\x89PNG")
        assert b"atplotlib" not in content
        assert b"CreationDate" not in content


def test_the_reported_profile_has_a_line_for_every_model_of_its_figures():
    in_figures = {spec.name for number in (1, 2, 3) for panel in figure_panels(number, "reported")
                  for _, spec, _ in panel.lines}  # fmt: skip
    # Code Llama 34B Instruct is in Table 6 alone.
    assert {spec.name for spec in models_of("reported")} - in_figures == {"CodeLlama-34b-Instruct-hf"}
