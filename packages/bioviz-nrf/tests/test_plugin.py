"""What the plugin registers, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import bioviz_core as bv
import bioviz_nrf


def test_everything_registered_loads_and_cites_a_paper() -> None:
    refs = bv.list(pattern="nrf/*")
    assert {ref.name for ref in refs} == {
        "nrf/field", "nrf/persistent-contrastive-divergence", "nrf/gaussian-check",
    }  # fmt: skip
    for ref in refs:
        assert callable(ref.load())
        assert ref.paper


def test_every_public_name_exists_and_is_documented() -> None:
    for name in dir(bioviz_nrf):
        assert getattr(bioviz_nrf, name).__doc__, name


def test_import_and_listing_load_no_framework() -> None:
    code = (
        "import sys, bioviz_nrf, bioviz_core as bv; bv.list(); "
        "print([m for m in ('torch', 'jax', 'numpy', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
