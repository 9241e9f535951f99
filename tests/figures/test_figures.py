"""Figures show what the table's rows hold, say what they show, and tell when they are stale."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, seal
from example_table import HOSTILE, make_curves, make_many_rows, make_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ablations.figures import (
    Chart,
    Source,
    build_charts,
    build_statement_chart,
    check_svg,
    draw,
    list_charts,
    render_png,
    render_svg,
)
from ablations.figures.labels import place_labels
from ablations.report.html import embed_svg
from ablations.statistics import Agreement
from ablations.study import read_export
from ablations.tables import build_table, collect_claims

AGREEMENT = Agreement(reference="top1_error", tau=0.62, interval=(0.31, 0.78), p=0.03, rows=10)
PAPER = ["paper_top1_error", "paper_params_m"]


def make_charts(
    rows: pd.DataFrame | None = None, curves: pd.DataFrame | None = None, *, baseline: str = "base"
) -> dict[str, Chart]:
    """The charts of some rows, by name."""
    rows = make_rows() if rows is None else rows
    curves = make_curves(rows) if curves is None else curves
    source = Source(
        rows=rows,
        curves=curves,
        baseline=baseline,
        recipe_name="quick",
        margin=0.5,
        agreement=AGREEMENT,
    )
    charts = build_charts(source)
    return {chart.name: chart for chart in charts}


CHARTS = make_charts()
SVGS = {name: render_svg(chart) for name, chart in CHARTS.items()}


def list_texts(svg: str) -> str:
    """All words of a drawing."""
    return " ".join(ElementTree.fromstring(svg.encode()).itertext())


def test_charts_are_in_the_order_of_the_report() -> None:
    """Errors and differences first; curves last."""
    assert list(CHARTS) == ["errors", "differences", "cost", "agreement", "curves"]


@pytest.mark.parametrize("name", ["kernel_combination", "se_reduction"])
def test_intervals_have_the_level_of_the_tables_tests(name: str) -> None:
    """With planned looks they are wider than 95 %, and the caption says by how much."""
    study = read_export(ROOT / "results" / name / "quick")
    table = build_table(study)

    [caption] = [
        chart.caption for chart in list_charts(study, table) if chart.name == "differences"
    ]

    assert len(table.path.question.looks) == 5
    assert "bars are 98.54 % intervals of one row" in caption
    assert "bars are 95 % intervals of one row" in CHARTS["differences"].caption


def test_statements_of_several_claims_are_drawn_below_each() -> None:
    """Each mark shows the verdict on its own claim, below that claim's heading."""
    study = read_export(ROOT / "results/dilation_group/quick")

    chart = build_statement_chart(collect_claims([(study, build_table(study))]))

    assert chart is not None
    shared = chart.data[chart.data["statement"] == "5x5, D=1, G=64 better than 3x3, D=1, G=32"]
    assert sorted(shared["verdict"]) == ["supported", "undecided"]
    texts = list_texts(render_svg(chart))
    assert all(claim in texts for claim in shared["claim"])


def test_agreement_is_plotted_for_rows_with_both_errors() -> None:
    """With tau-b in the title, and everything else about it in the caption."""
    chart = CHARTS["agreement"]

    assert list(chart.data["variant"]) == ["base", HOSTILE]
    assert list(chart.data["printed_error_percent"]) == [20.79, 20.97]
    assert str(AGREEMENT) in chart.caption
    assert "no verdict on the paper" in chart.caption
    assert "tau-b = 0.62 (0.31 to 0.78 resampled)" in list_texts(SVGS["agreement"])


def test_latency_is_plotted_where_it_was_measured() -> None:
    """Of rows with an error; the point of a row without latency is left out."""
    rows = make_rows().assign(latency_ms=[12.5, 10.0, np.nan, 5.0])
    chart = make_charts(rows)["latency"]
    drawing = render_svg(chart)

    assert list(chart.data["variant"]) == ["base", HOSTILE]
    assert list(chart.data["latency_ms"]) == [12.5, 10.0]
    assert "latency of one image (ms)" in list_texts(drawing)
    assert check_svg(drawing, chart) == "current"


def test_choosing_what_to_plot_loads_no_matplotlib() -> None:
    """A check compares digests; it needs no drawing."""
    code = "import sys, ablations.figures; sys.exit('matplotlib' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_unit_is_in_a_columns_name() -> None:
    """The data of a figure can be read without it."""
    units = {
        column for chart in CHARTS.values() for column in chart.data.select_dtypes("float64")
    } - {"mean", "least", "greatest"}  # of the quantity in the same row

    assert all(unit.endswith(("_percent", "_points", "_millions")) for unit in units)
    assert set(CHARTS["curves"].data["quantity"]) == {"top1_error_percent", "train_loss_nats"}


def test_the_papers_errors_are_in_a_panel_of_their_own() -> None:
    """They are of another training, and would be read as a comparison."""
    errors = CHARTS["errors"].data.set_index(["panel", "variant"])["top1_error_percent"]

    assert errors["recipe quick", "base"] == 3.48
    assert errors["paper, as printed", "base"] == 20.79
    assert len(draw(CHARTS["errors"]).axes) == 2
    assert "a panel and axes of their own" in CHARTS["errors"].caption


@pytest.mark.parametrize("absent", [True, False])
def test_without_printed_cells_there_is_no_panel_for_them(absent: bool) -> None:
    """Whether the columns are absent or hold nothing."""
    rows = make_rows().drop(columns=PAPER) if absent else make_rows().assign(**dict.fromkeys(PAPER))
    charts = make_charts(rows)

    for name in ("errors", "cost"):
        assert set(charts[name].data["panel"]) == {"recipe quick"}
        assert "printed" not in charts[name].caption
        assert len(draw(charts[name]).axes) == 1


def test_a_variant_without_trials_is_named_and_has_no_point() -> None:
    """Nothing is dropped in silence where rows are shown; curves and points need trials."""
    errors = CHARTS["errors"].data.set_index(["variant", "panel"])

    assert np.isnan(errors.loc[("no trial", "recipe quick"), "top1_error_percent"])
    assert "no finished trial" in list_texts(SVGS["errors"])
    assert "no common seed" in list_texts(SVGS["differences"])
    assert "no trial" not in set(CHARTS["curves"].data["variant"])


def test_one_seed_has_a_point_and_no_bar() -> None:
    """And is told apart by an open marker and by its words."""
    row = CHARTS["differences"].data.set_index("variant").loc["one seed"]

    assert np.isnan(row["half_width_points"])
    assert "no verdict" in list_texts(SVGS["differences"])
    assert "n = 0 to 3" in CHARTS["differences"].caption


def test_bands_reach_from_the_least_to_the_greatest_seed() -> None:
    """The mean of seeds 0, 1 and 2 points above 50 after the first epoch."""
    data = CHARTS["curves"].data
    first = data[(data["variant"] == "base") & (data["quantity"] == "top1_error_percent")].iloc[0]

    assert dict(first[["epochs_trained", "n", "least", "mean", "greatest"]]) == {
        "epochs_trained": 1,
        "n": 3,
        "least": 50,
        "mean": 51,
        "greatest": 52,
    }


def test_a_diverged_epoch_is_not_plotted() -> None:
    """It has no loss, and its error is chance."""
    curves = make_curves(make_rows())
    curves.loc[(curves["variant"] == "one seed") & (curves["epoch"] > 0), "train_loss"] = np.nan
    data = make_charts(curves=curves)["curves"].data

    assert data.loc[data["variant"] == "one seed", "epochs_trained"].max() == 1


def test_nothing_to_plot_gives_no_chart() -> None:
    """As before the first trial of an experiment that no paper printed."""
    rows = make_rows().drop(columns=PAPER).loc[["no trial"]]

    assert make_charts(rows, baseline="no trial") == {}


def test_before_the_first_trial_the_papers_numbers_are_drawn() -> None:
    """With words where ours will stand."""
    charts = make_charts(make_rows().loc[["no trial"]], baseline="no trial")

    assert set(charts) == {"errors", "cost"}
    assert "no finished trial" in list_texts(render_svg(charts["errors"]))


def test_a_digest_follows_the_data() -> None:
    """A last digit that differs between machines is no change; a hundredth of a point is."""
    rows = make_rows()
    noisy, changed = rows.copy(), rows.copy()
    noisy["top1_error"] += 1e-12
    changed.loc["base", "top1_error"] += 0.01

    assert make_charts(noisy)["errors"].digest == CHARTS["errors"].digest
    assert make_charts(changed)["errors"].digest != CHARTS["errors"].digest


@pytest.mark.parametrize("name", CHARTS)
def test_a_drawing_is_the_same_every_time(name: str) -> None:
    """So a commit of the same results changes no file, whatever the user's matplotlib is set to."""
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": None}):
        again = render_svg(CHARTS[name])

    assert again == SVGS[name]
    assert "dc:date" not in again


@pytest.mark.parametrize("name", CHARTS)
def test_a_drawing_is_xml_with_its_names_as_text(name: str) -> None:
    """They can be searched and read aloud, and a name is never taken for a formula or a tag."""
    words = list_texts(SVGS[name])

    assert "base" in words
    assert HOSTILE in words


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("errors", ["top-1 error (%)", "3.48 ± 0.19", "(baseline)"]),
        ("differences", ["(points)", "margin of ±0.5 points", "undecided", "← better"]),
        ("cost", ["parameters (millions)", "top-1 error (%)"]),
        ("agreement", ["error printed in the paper (%)", "top-1 error (%)", "(baseline)"]),
        ("curves", ["epochs trained", "top-1 error (%)", "training loss (nats)"]),
    ],
)
def test_axes_are_labelled_with_units(name: str, labels: list[str]) -> None:
    """And what matters is said in words too, for who cannot tell the colours apart."""
    words = list_texts(SVGS[name])

    assert [label for label in labels if label not in words] == []


@pytest.mark.parametrize("name", CHARTS)
def test_a_drawing_of_this_data_is_current(name: str) -> None:
    """Told from the file alone."""
    assert check_svg(SVGS[name], CHARTS[name]) == "current"


def test_a_drawing_of_other_data_is_stale() -> None:
    """It is as it was written, and the results have moved on."""
    data = CHARTS["errors"].data.assign(top1_error_percent=1.0)

    assert check_svg(SVGS["errors"], replace(CHARTS["errors"], data=data)) == "stale"


@pytest.mark.parametrize(
    ("old", "new"), [("3.48 ± 0.19", "3.08 ± 0.19"), ("<!-- data ", "<!-- date "), ("</svg>", "")]
)
def test_a_drawing_changed_by_hand_is_edited(old: str, new: str) -> None:
    """Even if its digests are taken out."""
    assert old in SVGS["errors"]
    assert check_svg(SVGS["errors"].replace(old, new), CHARTS["errors"]) == "edited"


HOSTILE_MARKUP = [
    *("<script>alert(1)</script>", "<script/>", "<a><text>x</text></a>", "<image/>", "<tspan/>"),
    *("<foreignObject><iframe/></foreignObject>", "<animate/>", "<set/>", "<title>x</title>"),
    '<script xmlns="http://www.w3.org/1999/xhtml">alert(1)</script>',
    '<svg:script xmlns:svg="http://www.w3.org/2000/svg">alert(1)</svg:script>',
    '<g xmlns="http://www.w3.org/1999/xhtml"/>',
    *('<g onload="alert(1)"/>', '<g tabindex="1"/>', '<g href="#a"/>', '<g class="x"/>'),
    *('<use xlink:href="http://x.example/y.svg#a"/>', '<use xlink:href="javascript:alert(1)"/>'),
    *('<image xlink:href="http://x.example/y.png"/>', '<image xlink:href="#a"/>'),
    *('<image xlink:href="data:image/svg+xml;base64,AA"/>',),
    *('<use xlink:href="data:image/png;base64,AA"/>',),
    *('<g xlink:title="x"/>', '<g id="&quot;&gt;"/>', '<g clip-path="url(http://x.example)"/>'),
    *('<g style="fill: url(http://x.example)"/>', '<g style="fill: url(x.png)"/>'),
    *('<g style="width: expression(alert(1))"/>', '<g style="x: \\75rl(x)"/>'),
    *('<rect fill="url(x.png)"/>', '<g style="x: url(#a)/**/"/>', '<g style="@import x"/>'),
    *('<g transform="url(x)"/>', '<style type="text/css">@import "x";</style>', "<style>x</style>"),
    *("<!DOCTYPE x>", "<?xml-stylesheet href='x'?>", "<![CDATA[x]]>", "&undefined;", "<g>"),
    "<g>" * 100_000 + "</g>" * 100_000,
]


@pytest.mark.parametrize("markup", HOSTILE_MARKUP, ids=lambda markup: markup[:50])
def test_a_drawing_holds_nothing_but_what_is_drawn(markup: str) -> None:
    """A digest that fits is no proof: the drawing becomes a part of a page."""
    svg = seal(SVGS["errors"].replace("</defs>", f"</defs>{markup}", 1))

    assert check_svg(svg, CHARTS["errors"]) == "edited"
    with pytest.raises(ValueError, match="SVG"):
        embed_svg(svg, prefix="f")


def test_a_drawing_declares_no_entities() -> None:
    """They could be expanded without end, or read a file."""
    bomb = '"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd" [<!ENTITY a "b">]>'
    svg = seal(re.sub('"[^"]*dtd">', bomb, SVGS["errors"], count=1))

    assert "ENTITY" in svg
    assert check_svg(svg, CHARTS["errors"]) == "edited"


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*/*/*.svg")), ids=str)
def test_the_committed_drawings_are_accepted(path: Path) -> None:
    """Every element and attribute that they need is known."""
    assert embed_svg(path.read_text(), prefix="f").startswith("<svg ")


def test_a_drawing_cannot_claim_other_data() -> None:
    """The digest of its data is sealed with it."""
    svg = SVGS["errors"].replace(CHARTS["errors"].digest, CHARTS["cost"].digest)

    assert check_svg(svg, CHARTS["cost"]) == "edited"


def test_png_for_mlflow() -> None:
    """The same drawing, twice the size of a screen's points."""
    assert render_png(CHARTS["errors"]).startswith(b"\x89PNG")


def test_drawing_leaves_no_global_state() -> None:
    """A user's own figures look as before."""
    before = dict(mpl.rcParams)
    render_png(CHARTS["errors"])

    assert {k: v for k, v in mpl.rcParams.items() if before[k] != v} == {}
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("name", CHARTS)
@pytest.mark.parametrize("count", [1, 17])
def test_no_text_is_cut_off(name: str, count: int) -> None:
    """Of the largest table, with long names, and of the smallest."""
    rows = make_many_rows(count)
    if count == 1 and name == "differences":
        pytest.skip("a baseline alone has no differences")
    figure = draw(make_charts(rows, baseline=rows.index[0])[name])
    FigureCanvasAgg(figure).draw()
    box = figure.get_tightbbox()  # of all that is drawn, in inches
    width, height = figure.get_size_inches()

    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height


@given(
    shares=st.lists(st.tuples(st.floats(0.2, 0.8), st.floats(0.1, 0.9)), min_size=1, max_size=17)
)
@settings(deadline=None, max_examples=12)
def test_names_stay_inside_and_apart(shares: list[tuple[float, float]]) -> None:
    """In a panel of this size, names of 17 points find room wherever the points are."""
    centres = np.array(shares) * (800, 400)
    points = np.hstack([centres - 5, centres + 5])

    boxes = place_labels(
        points, points, [(60, 14)] * len(points), area=np.array([[0, 0, 800, 400]])
    )

    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (800, 400)).all()
    for own, box in enumerate(boxes):
        later = boxes[own + 1 :]
        touching = (box[:2] <= later[:, 2:]).all(axis=1) & (box[2:] >= later[:, :2]).all(axis=1)
        assert not touching.any()


def test_a_lone_name_is_at_the_right_of_its_point() -> None:
    """Near enough to need no line."""
    point = np.array([[95.0, 95, 105, 105]])

    [box] = place_labels(point, point, [(60, 14)], area=np.array([[0, 0, 800, 400]]))

    assert list(box) == [109, 93, 169, 107]
