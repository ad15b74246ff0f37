"""Several memories in one network: written apart, swapped, decaying, and taken back to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bioviz_core import Claim, Config, Field
from bioviz_core.interfaces import Part

if TYPE_CHECKING:
    from bioviz_core.interfaces import Measured
    from bioviz_core.lab.run import Run

CERTIFICATE = ("certificate",)


class ContextsConfig(Config):
    """What the slow weights learn first, and what is written to each context."""

    contexts: int = Field(3, ge=2, le=3)
    """Memories, each of patches from a photograph of its own."""
    images: int = Field(4, ge=1)
    """Patches that are written to a context."""
    slow_steps: int = Field(2000, ge=1)
    """Updates of the whole autoencoder on other photographs, before anything is written."""
    exposures: int = Field(150, ge=1)
    """Updates of a context's fast weights."""
    rank: int = Field(8, ge=1)
    """Rank of each projection's adapter."""
    slow_rate: float = Field(1e-3, gt=0)
    """AdamW's step size for the slow weights."""
    fast_rate: float = Field(2e-3, gt=0)
    """AdamW's step size for the fast weights."""
    merges: int = Field(100, ge=1)
    """Rounds of merging and unmerging."""


class Contexts:
    """Certificates of fast weights, and what one context's writing does to another's images."""

    question: ClassVar[str] = "Can one network hold several memories that leave no trace in others?"
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "attach-is-identity", "Attaching fast weights changes no bit of any output", "LoRA",
            "attach_differing_outputs", "exact", 0, tags=CERTIFICATE,
        ),
        Claim(
            "merge-reset-bits", "Merging, resetting and writing elsewhere leave the same bits",
            "theory", "merge_differing_weights", "exact", 0, tags=CERTIFICATE,
            also=(
                Part("reset_differing_outputs", "exact", 0),
                Part("other_context_differing_weights", "exact", 0),
                Part("subtracting_differing_weights", ">", 0),
            ),
        ),
        Claim(
            "delta-algebra", "Decay, mixtures and consolidation are dense arithmetic", "theory",
            "algebra_deviation", "<=", 1e-12, tags=CERTIFICATE,
        ),
    )  # fmt: skip
    presets: ClassVar[dict[str, dict[str, object]]] = {
        "smoke": {"contexts": 2, "slow_steps": 20, "exposures": 12},
        "laptop": {},
        "paper": {},
    }

    def run(self, config: ContextsConfig, run: Run) -> dict[str, Measured]:
        """Certify fast weights, write the contexts, and cross each with the images of all."""
        from bioviz_fastweights.experiments import certificates, interference, pictures

        run.fact("data", "photographs that come with scikit-image, in patches of 64 x 64")
        merged = certificates.merging(config.merges)
        scalars: dict[str, Measured] = {
            "attach_differing_outputs": certificates.attaching(),
            "merge_differing_weights": merged.differing,
            "reset_differing_outputs": certificates.resetting(),
            "other_context_differing_weights": certificates.writing_elsewhere(),
            "subtracting_differing_weights": merged.by_subtracting,
            "algebra_deviation": certificates.algebra(),
        }
        memories = interference.write_all(config, run)
        found = interference.crossed(memories)
        run.table(
            "errors",
            {
                "fast weights in use": ["none", *memories.sets],
                **{name: found.errors[:, i].tolist() for i, name in enumerate(memories.sets)},
            },
            "Reconstruction error of each context's images under each context's fast weights.",
        )
        pictures.contexts(run, found)
        pictures.reconstructions(run, memories)
        run.number("fall of the error, own context", found.own, "%")
        run.number("fall of the error, other context", found.other, "%")
        run.number("adapter weights per context", memories.size)
        return scalars | {"own_fall": found.own, "other_fall": found.other}
