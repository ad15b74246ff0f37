"""Do the samplers sample? Every kernel against laws with known moments, and the published one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bioviz_core import Claim, Config, Field
from bioviz_core.interfaces import Part

if TYPE_CHECKING:
    from bioviz_core.interfaces import Measured
    from bioviz_core.lab.run import Run

CERTIFICATE = ("certificate",)


class GaussianCheckConfig(Config):
    """How many chains, and how they go."""

    chains: int = Field(200_000, ge=1000)
    """Independent chains in the box and on the quartic law."""
    box_step: float = Field(0.05, gt=0, le=0.1)
    """Step size in the box, where reflections cost an error that falls with its square."""
    replica_chains: int = Field(10_000, ge=100)
    """Chains of the published sampler."""
    replica_burn_in: int = Field(500, ge=1)
    """Steps in which each of them sets its masses."""


class GaussianCheck:
    """Certificates of the kernels: stationary laws, order of the bias, walls."""

    question: ClassVar[str] = "Do the kernels sample the law of their energy, and did the original?"
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "stationary-law", "Every kernel settles in the law that its equations imply", "theory",
            "variance_deviation", "<=", 1e-6, tags=CERTIFICATE,
        ),
        Claim(
            "bias-order", "The bias of obabo is of second order, and that of baoab small", "theory",
            "order_error", "<=", 0.2, tags=CERTIFICATE,
            also=(Part("baoab_moment_error", "<=", 0.01),),
        ),
        Claim(
            "bounded-law", "Mirrored at walls, chains keep the truncated law", "theory",
            "box_moment_errors", "<=", 4, "s.e.", tags=CERTIFICATE,
            also=(
                Part("box_samples_on_walls", "exact", 0),
                Part("clamped_moment_errors", ">", 4, "s.e."),
                Part("clamped_samples_on_walls", ">", 0),
            ),
        ),
        Claim(
            "replica-is-cold", "The published sampler is far colder than its energy",
            "reference code", "replica_variance_ratio", "<=", 0.02, tags=CERTIFICATE,
        ),
    )  # fmt: skip
    presets: ClassVar[dict[str, dict[str, object]]] = {
        "smoke": {"chains": 20_000, "box_step": 0.1, "replica_chains": 4000},
        "laptop": {},
        "paper": {},
    }

    def run(self, config: GaussianCheckConfig, run: Run) -> dict[str, Measured]:
        """Measure the four certificates, and draw what they rest on."""
        from bioviz_nrf.experiments import certificates, pictures

        run.fact("data", "laws with known moments; no data")
        rows = list(certificates.stationary_laws())
        run.table(
            "stationary-law",
            {
                name: [getattr(row, name) for row in rows]
                for name in ("scheme", "law", "step_size", "measured", "expected")
            },
            "Variance in the law that each kernel settles in, from its own linear map, and the "
            "closed form.",
        )
        bias = certificates.quartic_bias(config.chains, run)
        box = certificates.truncated_gaussian(config.chains, config.box_step, run)
        cold = certificates.coldness(config.replica_chains, config.replica_burn_in, run)
        pictures.laws(run, rows, bias, box)
        pictures.coldness(run, cold)
        run.number("published sampler's variance", 100 * cold.ratios["published"], "% of the truth")
        run.number("order of obabo's bias", bias.order)
        run.number("chains on a wall, clamped", 100 * box.clamped.on_walls, "%")
        run.number("chains on a wall, mirrored", 100 * box.mirrored.on_walls, "%")
        return {
            "variance_deviation": max(abs(row.measured - row.expected) for row in rows),
            "order_error": abs(bias.order - 2),
            "baoab_moment_error": abs(bias.baoab),
            "box_moment_errors": box.mirrored.worst,
            "box_samples_on_walls": box.mirrored.count_on_walls,
            "clamped_moment_errors": box.clamped.worst,
            "clamped_samples_on_walls": box.clamped.count_on_walls,
            "replica_variance_ratio": cold.ratios["published"],
        }
