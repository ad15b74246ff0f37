from __future__ import annotations

from bioviz_core.lab.report.curves import draw_curves


def rows(phase: str, **metrics: list[float]) -> list[dict[str, object]]:
    length = len(next(iter(metrics.values())))
    return [
        {"phase": phase, "step": i, "time": i / 7, **{k: v[i] for k, v in metrics.items()}}
        for i in range(length)
    ]


def test_phases_that_differ_in_their_number_are_repeats_of_one_curve(tmp_path):
    data = [*rows("fit-0", loss=[4.0, 1.0]), *rows("fit-1", loss=[2.0, 2.0])]
    [panel], left = draw_curves(data, tmp_path)
    assert panel.caption == "Loss falls from 3 to 1.5.\nThin: 2 repeats. Thick: their mean."
    assert (tmp_path / f"{panel.name}.svg").exists()
    assert left == []


def test_metrics_of_one_quantity_share_a_panel_and_no_more_than_six_are_drawn(tmp_path):
    names = ["train_loss", "test_loss", *(f"m{i}" for i in range(7))]
    panels, left = draw_curves(rows("fit", **{n: [1.0, 2.0] for n in names}), tmp_path)
    assert len(panels) == 6
    assert "test_loss" in panels[0].alt
    assert left == ["m5", "m6"]


def test_a_metric_alone_in_its_panel_keeps_its_whole_name(tmp_path):
    [panel], _ = draw_curves(rows("fit", grad_norm=[0.5, 0.5]), tmp_path)
    assert panel.caption == "Grad_norm stays at 0.5.\n"


def test_gaps_single_points_and_ranges_over_thirty_are_drawn(tmp_path):
    nan = float("nan")
    data = [*rows("a", loss=[1.0, nan, 1e-3]), *rows("b", loss=[nan, nan]), *rows("c", once=[1.0])]
    panels, _ = draw_curves(data, tmp_path)
    assert len(panels) == 1
    svg = (tmp_path / f"{panels[0].name}.svg").read_text()
    assert "0.001" in svg


def test_repeats_of_different_length_are_drawn_one_by_one(tmp_path):
    data = [*rows("fit-0", loss=[3.0, 1.0]), *rows("fit-1", loss=[3.0, 2.0, 1.0])]
    [panel], _ = draw_curves(data, tmp_path)
    assert panel.caption.startswith("Loss falls from 3 to 1.")


def test_long_runs_are_thinned(tmp_path):
    [panel], _ = draw_curves(rows("fit", loss=[float(i % 7) for i in range(9000)]), tmp_path)
    assert (tmp_path / f"{panel.name}.svg").stat().st_size < 30_000
