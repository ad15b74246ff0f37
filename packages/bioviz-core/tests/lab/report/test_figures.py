from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.errors import DataError
from bioviz_core.lab.report import figures
from bioviz_core.lab.report.svg import inline_svg
from matplotlib import rcParams
from matplotlib.figure import Figure


def drawing() -> Figure:
    figure, (a, b) = figures.double(2)
    figures.seed_lines(a, [1, 10, 100], np.arange(6).reshape(2, 3), color=figures.RED, label="E")
    figures.log_axis(a)
    figures.wash(a, 1, 10, "low")
    figures.title(a, "Response", "a")
    b.plot([0, 1], [0, 1], **figures.hollow(figures.BLUE))
    b.pcolormesh(np.eye(80))
    return figure


def test_the_same_drawing_gives_the_same_bytes(tmp_path):
    one, two = (tmp_path / name for name in ("one", "two"))
    for folder in (one, two):
        folder.mkdir()
        figures.save(drawing(), folder, "f")
    assert (one / "f.svg").read_bytes() == (two / "f.svg").read_bytes()
    assert (one / "f.png").read_bytes() == (two / "f.png").read_bytes()
    assert b"date" not in (one / "f.svg").read_bytes().lower()


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(rcParams)
    drawing()
    assert dict(rcParams) == before


def test_saved_figures_keep_text_as_text_and_plain_hex(tmp_path):
    svg, _ = figures.save(drawing(), tmp_path, "f")
    text = svg.read_text()
    assert "Response</text>" in text
    assert figures.RED.lower() in text
    assert "var(" not in text
    assert text.count("<image") == 1  # the mesh is rasterised: 6,400 cells would be 6,400 paths


def test_up_to_ten_seeds_are_lines_and_more_are_a_band():
    _, ax = figures.single()
    figures.seed_lines(ax, [0, 1], np.zeros((10, 2)))
    assert (len(ax.lines), len(ax.collections)) == (11, 0)
    _, ax = figures.single()
    figures.seed_lines(ax, [0, 1], np.random.default_rng(0).normal(size=(11, 2)))
    assert (len(ax.lines), len(ax.collections)) == (1, 1)


def test_missing_seeds_leave_the_mean_of_the_others():
    _, ax = figures.single()
    figures.seed_lines(ax, [0, 1], [[1.0, np.nan], [3.0, 5.0], [np.nan, np.nan]])
    assert list(ax.lines[-1].get_ydata()) == [2.0, 5.0]


@pytest.mark.parametrize(("size", "numbers"), [(8, 64), (9, 0)])
def test_small_matrices_have_numbers_and_large_ones_a_colour_bar(size, numbers):
    figure, ax = figures.single()
    figures.heatmap(ax, np.eye(size), unit="dB")
    assert len(ax.texts) == numbers
    assert len(figure.axes) == 1 + (numbers == 0)


def test_cell_numbers_are_black_on_bright_and_white_on_dark():
    _, ax = figures.single()
    figures.heatmap(ax, [[0.0, 1.0]], low=0, high=1)  # viridis: dark violet, bright yellow
    assert [text.get_color() for text in ax.texts] == ["#FFFFFF", "#000000"]


def test_signed_maps_are_symmetric_about_zero():
    _, ax = figures.single()
    figures.heatmap(ax, [[-1.0, 3.0]], signed=True)
    assert ax.images[0].get_clim() == (-3.0, 3.0)


def test_images_come_channels_first_or_last():
    _, axes = figures.image_grid(1, 3)
    shapes = ((1, 4, 5), (3, 4, 5), (4, 5, 3))
    for ax, shape in zip(axes[0], shapes, strict=True):
        figures.show_image(ax, np.zeros(shape))
    assert [ax.images[0].get_array().shape for ax in axes[0]] == [(4, 5), (4, 5, 3), (4, 5, 3)]


def test_orientation_colours_are_cyclic_and_evenly_bright():
    from skimage.color import rgb2lab

    lab = rgb2lab(figures.orientation_map().colors)
    assert np.linalg.norm(lab[0] - lab[-1]) < 3
    assert lab[:, 0].min() > 52
    assert lab[:, 0].max() < 74


def test_long_titles_are_refused():
    _, ax = figures.single()
    with pytest.raises(ValueError, match="24 characters"):
        figures.title(ax, "a" * 25)


def test_inline_drawings_follow_the_theme_and_keep_their_ids_apart(tmp_path):
    svg, _ = figures.save(drawing(), tmp_path, "f")
    inline = inline_svg(svg, "one-", alt='a "quoted" <finding>')
    assert "var(--f-red)" in inline
    assert "var(--f-paper)" in inline
    assert figures.RED.lower() not in inline
    assert 'aria-label="a &quot;quoted&quot; &lt;finding&gt;"' in inline
    ids = {part.split('"')[0] for part in inline.split(' id="')[1:]}
    used = {part.split(")")[0] for part in inline.split("url(#")[1:]}
    used |= {part.split('"')[0] for part in inline.split('href="#')[1:]}
    assert used
    assert used <= ids
    assert all(name.startswith("one-") for name in ids)


def test_one_image_drawn_twice_gives_no_id_twice(tmp_path):
    figure, axes = figures.image_grid(1, 2)
    for ax in axes.flat:
        figures.show_image(ax, np.eye(4))
    svg, _ = figures.save(figure, tmp_path, "f")
    ids = [part.split('"')[0] for part in inline_svg(svg, "one-").split(' id="')[1:]]
    assert len(ids) == len(set(ids))


def test_nothing_in_an_inline_drawing_can_act_or_reach_outside(tmp_path):
    path = tmp_path / "evil.svg"
    path.write_text(
        """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
        viewBox="0 0 9 9" onload="a()"><script>alert(1)</script><style>*{fill:red}</style>
        <a xlink:href="javascript:alert(1)"><text>link</text></a>
        <foreignObject><iframe src="https://evil.example"/></foreignObject>
        <image xlink:href="https://evil.example/x.png"/>
        <image xlink:href="data:image/svg+xml;base64,PHN2Zz4="/>
        <image xlink:href="data:image/png;base64,iVBORw0KGgo="/>
        <use xlink:href="https://evil.example/x.svg#a"/><use xlink:href="#good"/>
        <rect style="fill:url(https://evil.example/p)" OnClick="b()" width="1"/>
        <rect style="fill:url( '#good' )"/><rect style="background:\\75rl(//evil.example)"/>
        <set attributeName="href" to="javascript:c()"/><g id="good"/></svg>"""
    )
    inline = inline_svg(path, "p-")
    for word in ("script", "evil", "onload", "click", "iframe", "style>", "<set", "<a ", "svg+xml"):
        assert word not in inline.lower()
    assert inline.count("data:image/png") == 1
    assert inline.count('href="#p-good"') == 1
    assert "url(#p-good)" in inline


@pytest.mark.parametrize("text", ["<svg><g></svg>", "<html/>", "not xml"])
def test_files_that_are_not_svg_are_refused(tmp_path, text):
    (tmp_path / "f.svg").write_text(text)
    with pytest.raises(DataError, match=r"f\.svg is not SVG"):
        inline_svg(tmp_path / "f.svg", "p-")
