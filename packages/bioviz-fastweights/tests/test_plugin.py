"""What the plugin registers, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import bioviz_core as bv
import bioviz_fastweights


def test_everything_registered_loads_and_cites_a_paper() -> None:
    refs = bv.list(pattern="fastweights/*")
    assert {ref.name for ref in refs} == {
        "fastweights/contexts",
        "fastweights/gradient-write",
        "fastweights/vit-autoencoder",
    }
    for ref in refs:
        assert callable(ref.load())
        assert ref.paper


def test_every_public_name_exists_and_is_documented() -> None:
    for name in dir(bioviz_fastweights):
        assert getattr(bioviz_fastweights, name).__doc__, name


def test_import_and_listing_load_no_framework() -> None:
    code = (
        "import sys, bioviz_fastweights, bioviz_core as bv; bv.list(); "
        "print([m for m in ('torch', 'jax', 'numpy', 'timm', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
