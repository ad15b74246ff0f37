"""How much does a memory hold? What is proved of retrieval, checked, and recall by dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bioviz_core import Claim, Config, Field
from bioviz_core.interfaces import Part

if TYPE_CHECKING:
    from bioviz_core.interfaces import Measured
    from bioviz_core.lab.run import Run

CERTIFICATE = ("certificate",)


class CapacityConfig(Config):
    """How many cases are checked, and how large memories grow."""

    energy_cases: int = Field(1_000_000, ge=1500)
    """States whose energy is compared before and after an update, over three separations."""
    separated_cases: int = Field(100_000, ge=100)
    """Well separated patterns whose errors are held against the theorem's bounds."""
    sparse_cases: int = Field(10_000, ge=100)
    """Patterns with the margin that sparsemax must bring back exactly."""
    attention_cases: int = Field(200, ge=1)
    """Problems on which retrieval is compared with attention written out."""
    dimensions: tuple[int, ...] = (8, 12, 16, 20)
    """Dimensions of the random patterns whose recall is measured."""
    largest: int = Field(131_072, ge=8)
    """Patterns in the largest memory."""
    queries: int = Field(400, ge=10)
    """Patterns that are recalled from each memory."""


class Capacity:
    """Certificates of retrieval, and how recall falls with the number of patterns."""

    question: ClassVar[str] = "How many patterns does a modern Hopfield memory bring back?"
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "energy-never-rises", "An update never raises the energy", "Ramsauer; Hu",
            "energy_rise", "<=", 1e-10, "(1 + |E|)", tags=CERTIFICATE,
        ),
        Claim(
            "separation-bound", "Errors of well separated patterns stay under the bounds",
            "Ramsauer", "bound_violations", "exact", 0, tags=CERTIFICATE,
        ),
        Claim(
            "sparse-exact", "Sparsemax brings back exactly every pattern with the margin", "Santos",
            "sparse_misses", "exact", 0, tags=CERTIFICATE,
            also=(Part("softmax_hits", "exact", 0),),
        ),
        Claim(
            "retrieval-is-attention", "Retrieval is attention, in any chunks and any batch",
            "theory", "attention_deviation", "<=", 1e-12, tags=CERTIFICATE,
        ),
        Claim(
            "capacity-constants", "The constants of the capacity theorem are the published ones",
            "Ramsauer", "constant_error", "<=", 5e-4, tags=CERTIFICATE,
        ),
    )  # fmt: skip
    presets: ClassVar[dict[str, dict[str, object]]] = {
        "smoke": {
            "energy_cases": 60_000, "separated_cases": 4000, "sparse_cases": 3000,
            "attention_cases": 20, "dimensions": (8, 10, 12, 14), "largest": 4096,
            "queries": 100,
        },
        "laptop": {},
        "paper": {},
    }  # fmt: skip

    def run(self, config: CapacityConfig, run: Run) -> dict[str, Measured]:
        """Check what is proved, then measure recall."""
        from bioviz_hopfield.experiments import certificates, pictures, recall

        run.fact("data", "random patterns; scikit-learn's digits for the pictures")
        rise = certificates.energy_rise(config.energy_cases, run)
        separated = certificates.separated(config.separated_cases, run)
        misses, hits = certificates.sparse_retrieval(config.sparse_cases, run)
        deviation = certificates.attention_deviation(config.attention_cases, run)
        rates = recall.rates(config.dimensions, config.largest, config.queries, run)
        digits = recall.halves(40)
        run.table(
            "recall",
            {
                "dimension": [d for d, of in rates.items() for _ in of],
                "patterns": [count for of in rates.values() for count in of],
                "recalled": [100 * share for of in rates.values() for share in of.values()],
            },
            "Random patterns recalled (%) after one update, error below a tenth of their norm.",
        )
        pictures.capacity(run, rates, separated, recall.descents(run))
        pictures.digits(run, digits)
        run.number("digits recalled from a half", 100 * digits.share, "%")
        for dim, of in rates.items():
            if half := recall.half_recalled(of):
                run.number(f"patterns half recalled, D = {dim}", round(half))
        return {
            "energy_rise": rise,
            "bound_violations": separated.violations,
            "sparse_misses": misses,
            "softmax_hits": hits,
            "attention_deviation": deviation,
            "constant_error": certificates.constant_error(),
        }
