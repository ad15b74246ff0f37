"""How XLA compiles an experiment: well, or quickly where little is computed."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

from bioviz_core import Config


class CompiledConfig(Config):
    """What every experiment of this package can be told."""

    compile_fast: bool = False
    """Leave out XLA's optimizations, which a short run does not repay."""

    def compilation(self) -> AbstractContextManager[None]:
        """What to compute within; before anything else is."""
        from bioviz_core.bridge.jax import quick_compilation

        # A step is thousands of small kernels, which XLA's threads slow down by half if they share.
        os.environ.setdefault("PJRT_NPROC", "1")
        return quick_compilation() if self.compile_fast else nullcontext()
