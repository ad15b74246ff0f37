from __future__ import annotations

import html
import json
import re
import sys
import types
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from bioviz_core import hookimpl, isolated_registry
from bioviz_core.errors import RunStateError
from bioviz_core.interfaces import Claim
from bioviz_core.lab.report import build, figures
from bioviz_core.lab.report.build import report


class Outline(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(path: Path) -> str:
    return report(path).read_text(encoding="utf-8")


def headings(text: str) -> list[str]:
    return re.findall(r"<h[12]>(.*?)</h[12]>", text)


def test_sections_come_in_the_order_that_readers_need(finished):
    assert headings(page(finished)) == [
        "Contrast response of a stabilized supralinear network",
        "Claims: 5 hold, 2 missed, 1 inconclusive, 1 not judged, 1 needs data, 1 needs weights",
        *("Key figure", "Key numbers", "Further figures", "Metric curves", "Tables"),
        *("Settings and record", "Repeat and cite"),
    ]


def test_every_claim_is_shown_in_declared_order(run):
    sentences = [
        row["sentence"] for row in json.loads((run / "summary.json").read_text())["claims"]
    ]
    text = html.unescape(page(run))
    places = [text.index(sentence) for sentence in sentences]
    assert places == sorted(places)
    words = re.findall(r'<span class="chip[^>]*>(.*?)</span>', text)
    assert len(words) == len(sentences)
    assert words.count("✗ broken") == 1


def test_the_key_figure_comes_first_wherever_it_was_saved(run):
    names = re.findall(r'<figure class="card( wide)?" id="figure-(\w+)"', page(run))
    assert [name for _, name in names] == ["circuit", "change", "learning", "maps", "images"]
    assert [name for wide, name in names if not wide] == ["change", "learning"]


def test_pictures_have_text_and_ids_are_unique(run):
    outline = Outline(page(run))
    drawn = [*outline.all("svg"), *outline.all("img")]
    assert len(drawn) >= 5
    assert all(said.get("aria-label") or said.get("alt") for said in drawn)
    ids = [said["id"] for _, said in outline.tags if said.get("id")]
    assert len(ids) == len(set(ids))


def test_the_page_forbids_scripts_and_needs_no_network(run):
    outline = Outline(page(run))
    [policy] = [m["content"] for m in outline.all("meta") if "http-equiv" in m]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert not outline.all("script") + outline.all("link") + outline.all("iframe")
    sources = [said["src"] for said in outline.all("img")]
    assert all(str(source).startswith("data:image/png") for source in sources)


def test_every_text_of_a_run_is_escaped(run, edit):
    evil = '<img src=x onerror="alert(1)">'
    edit(run / "run.json", title=evil, question=evil, facts={evil: evil}, paper=evil, preset=evil)
    edit(run / "config.json", **{evil: evil})
    edit(run / "environment.json", **{evil: evil}, git={"commit": evil})
    edit(run / "figures/change.json", caption=evil, alt=evil, notes=[evil])
    edit(run / "tables/fits.json", caption=evil)
    (run / "tables/fits.csv").write_text(f"{evil},b\n{evil},2\n".replace('"', ""))
    summary = json.loads((run / "summary.json").read_text())
    for verdict in summary["claims"]:
        verdict.update(sentence=evil, source=evil)
        verdict["parts"][0].update(metric=evil, unit=evil, note=evil)
    numbers = [{"label": evil, "value": 1, "unit": evil}]
    edit(run / "summary.json", claims=summary["claims"], numbers=numbers)
    outline = Outline(page(run))
    assert not [said for said in outline.all("img") if said.get("src") == "x"]
    assert not any("onerror" in said for _, said in outline.tags)


@pytest.mark.parametrize("status", ["created", "running", "stopped"])
def test_an_unfinished_run_says_so_and_how_to_resume_it(run, edit, status):
    edit(run / "run.json", status=status, finished=None)
    (run / "summary.json").unlink()
    text = page(run)
    assert f"<b>{status.capitalize()}</b>" in text
    assert re.search(rf"bioviz resume \S*{run.name}", text)
    assert "Key numbers" not in text


def test_a_failed_run_shows_its_error(run, edit):
    edit(run / "run.json", status="failed")
    (run / "summary.json").unlink()
    assert "NotConverged: residual 3e-2 after 500 steps" in page(run)


def test_a_torn_directory_still_has_a_report_that_names_the_torn_files(run):
    (run / "summary.json").write_text('{"scalars": {"low": [2.1')
    (run / "config.json").write_bytes(b"")
    (run / "figures/change.svg").write_text("<svg><g>")
    (run / "figures/circuit.json").unlink()
    (run / "figures/maps.png").unlink()
    (run / "figures/images.svg").unlink()
    (run / "metrics.jsonl").write_text('{"phase": "a", "step": 0, "x": 1}\n{"phase": "a", "st')
    (run / "environment.json").unlink()
    text = page(run)
    for name in ("summary.json", "config.json", "change.svg"):
        assert re.search(rf"<p class=\"small\">[^<]*{re.escape(name)}", text), name
    assert len(re.findall(r'id="figure-', text)) == 5


def test_claims_of_another_format_are_named_not_shown(run, edit):
    edit(run / "summary.json", claims=[{"id": "old", "verdict": "holds"}])
    text = page(run)
    assert "summary.json has claims of another format" in text
    assert "<h2>Claims" not in text


def test_a_run_of_one_file_has_a_report(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"experiment": "a/b", "status": "created"}))
    assert headings(page(tmp_path))[0] == "a/b"


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunStateError, match=r"no run\.json"):
        report(tmp_path)


def test_large_drawings_become_pixels_on_a_light_card(run, monkeypatch):
    monkeypatch.setattr(build, "MAX_DRAWING", 1000)
    outline = Outline(page(run))
    assert len([said for said in outline.all("img") if said.get("class") == "raster"]) == 5


def test_a_page_over_its_limit_gives_up_the_largest_figures_and_says_so(run, monkeypatch):
    rng = np.random.default_rng(0)
    figure, ax = figures.single()
    for _ in range(60):
        ax.plot(rng.normal(size=60))
    figures.save(figure, run / "figures", "noise")
    full = len(page(run).encode())
    monkeypatch.setattr(build, "MAX_REPORT", full - 1000)
    text = page(run)
    assert len(text.encode()) <= full - 1000
    assert "Large figures are shown as pixels or linked" in text
    monkeypatch.setattr(build, "MAX_REPORT", 60_000)
    text = page(run)
    assert '<a href="figures/noise.png">noise.png</a>' in text
    assert len(re.findall("<figcaption>", text)) == 6


def test_long_tables_are_folded_and_cut(run):
    (run / "tables/long.csv").write_text("n\n" + "".join(f"{i}\n" for i in range(500)))
    text = page(run)
    assert "<details><summary>long <span>500 rows</span>" in text
    assert "<details open><summary>fits <span>6 rows</span>" in text
    assert "First 200 rows; all are in tables/long.csv." in text
    assert '<td class="num">199</td>' in text
    assert '<td class="num">200</td>' not in text


def test_metric_curves_are_drawn_from_the_log(finished):
    text = page(finished)
    assert "Loss (fine) falls from" in text
    assert text.count('id="figure-curve-') == 3


def test_an_absent_experiment_leaves_the_defaults_unknown(run):
    with isolated_registry():
        assert "The defaults are unknown here. UnknownNameError" in page(run)


class Circuit:
    claims = (
        Claim("c", "A claim to be judged", "paper", "m", "up"),
        Claim("d", "A certificate", "theory", "k", "exact", tags=("certificate",)),
    )


class Toy:
    @staticmethod
    @hookimpl
    def bioviz_register(registry):
        registry.experiment("circuit", "circuit_for_report:Circuit", summary="A circuit")


def test_claims_of_an_unfinished_run_are_listed_and_not_judged(run, edit, monkeypatch):
    module = types.ModuleType("circuit_for_report")
    module.Circuit = Circuit  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "circuit_for_report", module)

    edit(run / "run.json", status="stopped", experiment="toy/circuit")
    (run / "summary.json").unlink()
    with isolated_registry() as registry:
        registry.register(Toy, name="toy")
        assert "Claims: 2 not judged" in headings(page(run))


def test_the_repeat_command_and_the_paper_are_there(run):
    text = page(run)
    assert "git checkout 7f3a91c0aa" in text
    assert "pip install bioviz-ssn==0.1.0" in text
    assert re.search(r"bioviz run \S+/config\.json", text)
    assert "Rubin, S. D. Van Hooser, K. D. Miller (2015)." in text
    assert "@article{rubin2015" in text


def test_writing_again_replaces_the_page_and_does_not_list_it(run):
    assert page(run) == page(run)
    assert "report.html" not in page(run)
