"""How one circuit sums, normalizes, suppresses, and answers paradoxically."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from bioviz_core import Claim, Field

from bioviz_ssn.experiments.circuit_claims import CLAIMS
from bioviz_ssn.experiments.compilation import CompiledConfig

if TYPE_CHECKING:
    import numpy as np
    from bioviz_core.interfaces import Measured, Result
    from bioviz_core.lab.run import Run


class CircuitConfig(CompiledConfig):
    """How much is drawn and scanned."""

    seeds: int = Field(8, ge=1)
    """Sets of rings with other weights."""
    draws: int = Field(64, ge=1)
    """Stable rings in each set."""
    spread: float = Field(0.2, gt=0, lt=1)
    """How far each weight of a ring may lie from the paper's, as a share of it."""
    points: int = Field(81, ge=20)
    """Orientations of the drawn rings, weights scaled to keep their sums."""
    contrasts: int = Field(33, ge=9)
    """Contrasts of the contrast response."""
    pairs: int = Field(10_000, ge=1)
    """E-I pairs whose residuals are certified; as many again are slowed down."""
    networks: int = Field(100, ge=1)
    """Superficial layers whose residuals are certified, each for eight orientations."""


@dataclass(frozen=True)
class Rings:
    """Plaid weights of drawn rings `(draws, contrasts)`, and how many draws were not stable."""

    weights: np.ndarray
    refused: int

    @property
    def normalized(self) -> np.ndarray:
        """Which rings pass from above to below 1: supralinear first, sublinear at the end."""
        return (self.weights[:, 0] > 1) & (self.weights[:, -1] < 1)


class Circuit:
    """Rubin's ring, two cells and a line of cells, by their steady states."""

    question: ClassVar[str] = "Can one circuit both add up weak inputs and normalize strong ones?"
    claims: ClassVar[tuple[Claim, ...]] = CLAIMS
    presets: ClassVar[dict[str, dict[str, object]]] = {
        "smoke": {
            "seeds": 1, "draws": 2, "contrasts": 25, "pairs": 2500, "networks": 2,
            "compile_fast": True,
        },
        "laptop": {},
        "paper": {"seeds": 50, "networks": 1000},
    }  # fmt: skip

    def run(self, config: CircuitConfig, run: Run) -> dict[str, Measured]:
        """Certify the solver, then scan contrast, orientation, size and inhibitory drive."""
        with config.compilation():
            return self._run(config, run)

    def _run(self, config: CircuitConfig, run: Run) -> dict[str, Measured]:
        import jax

        from bioviz_ssn.experiments import circuit_certificates as certificates

        found: dict[str, Measured] = self._certify(config, run)
        with jax.enable_x64(True):
            plaid = self._ring(config, run)
            found |= self._plaids(plaid, config, run)
            found |= self._sizes(run)
        scan = certificates.two_cell_scan()
        errors = {
            "one cell": certificates.one_cell_error(run.rng("one cell"), config.pairs),
            "two cells": certificates.two_cell_error(),
            "ring": certificates.ring_peak_error(plaid),
        }
        run.table(
            "closed-forms", {"network": list(errors), "error": list(errors.values())},
            "Largest distance (Hz) of steady rates from their closed form or table.",
        )  # fmt: skip
        found["closed_form_error"] = max(errors.values())
        found["sign_agreements"] = certificates.sign_agreements(scan)
        found |= self._paradox(scan, run)
        return found

    def _certify(self, config: CircuitConfig, run: Run) -> dict[str, Measured]:
        from bioviz_ssn.experiments import residuals

        rng = run.rng("draws")
        solved = residuals.certify(rng, config.pairs, config.networks)
        rows = list(run.track(solved, "residuals", 6))
        columns = {name: [asdict(row)[name] for row in rows] for name in asdict(rows[0])}
        run.table(
            "residuals", columns,
            "Steady states of accepted parameters: largest residual (Hz), that over "
            "1e-5 (1 + max r), smallest decay (per ms), and systems that decay slower than 0.01.",
        )  # fmt: skip
        double, single = rows[:3], rows[3:]
        run.number("largest residual", max(row.residual for row in double), "Hz")
        return {
            "residual": max(row.residual for row in double),
            "float32_residual_over_bound": max(row.over_bound for row in single),
            "unconverged": sum(row.unconverged for row in rows),
            "slow_systems": sum(row.slow for row in double),
        }

    def _ring(self, config: CircuitConfig, run: Run) -> Result:
        """The signature figure: contrast, orientation, and a map; gives the plaids."""
        import numpy as np

        import bioviz_ssn as ssn
        from bioviz_ssn.experiments import circuit_pictures as pictures

        ring = ssn.RingSSN.create()
        contrasts = np.geomspace(1, 50, config.contrasts)
        pattern = np.asarray(ring.grating(1.0, 90.0))
        response = ssn.contrast_response(ring, ring.params, pattern, contrasts=contrasts)
        strengths = np.array(pictures.STRENGTHS)
        curves = ssn.steady_rates(ring, ring.params, strengths[:, None] * pattern)
        preferred = ssn.orientation_map(run.rng("map"), pictures.MAP)
        pictures.circuit(run, response, np.asarray(ring.orientations), curves, preferred)
        run.array("orientation-map", preferred)
        run.array("tuning-curves", curves)
        run.number("supralinear up to contrast", response.scalars["crossing_E"])
        run.number("steepest exponent", response.scalars["peak_exponent_E"])
        components = np.stack([ring.grating(1.0, 45.0), ring.grating(1.0, 135.0)])
        return ssn.plaid_weights(ring, ring.params, components)

    def _plaids(self, plaid: Result, config: CircuitConfig, run: Run) -> dict[str, Measured]:
        import numpy as np

        from bioviz_ssn.experiments import circuit_certificates as certificates
        from bioviz_ssn.experiments import circuit_pictures as pictures

        feedforward = feedforward_weights()
        sets = [
            drawn_rings(run.rng("rings", seed), config)
            for seed in run.track(range(config.seeds), "rings")
        ]
        pictures.plaids(run, plaid, feedforward, sets)
        table = np.array(certificates.PLAID_WEIGHTS)
        shares = [float(rings.normalized.mean()) for rings in sets]
        run.number("rings that normalize", 100 * float(np.mean(shares)), "%")
        run.table(
            "rings",
            {
                "set": range(config.seeds),
                "normalized share": shares,
                "refused": [rings.refused for rings in sets],
                "median first weight": [float(np.median(r.weights[:, 0])) for r in sets],
                "median last weight": [float(np.median(r.weights[:, -1])) for r in sets],
            },
            "Rings with other weights: the share whose plaid weight passes from above to below 1, "
            "draws refused since they did not settle, weights at the lowest and highest contrast.",
        )
        return {
            "plaid_weight_error": float(np.abs(plaid.arrays["weights"] - table).max()),
            "feedforward_weight_error": float(np.abs(feedforward - certificates.FEEDFORWARD).max()),
            "feedforward_table_error": float(np.abs(feedforward - table).max()),
            "normalized_share": shares,
        }

    def _sizes(self, run: Run) -> dict[str, Measured]:
        import bioviz_ssn as ssn
        from bioviz_ssn.experiments import circuit_certificates as certificates
        from bioviz_ssn.experiments import circuit_pictures as pictures
        from bioviz_ssn.experiments import size_network as line

        model = line.line_network()
        found = {
            contrast: ssn.size_tuning(
                model, model.params, line.patches(contrast), line.SIZES, cells=line.centre()
            )
            for contrast in certificates.CONTRASTS
        }
        pictures.sizes(run, found)
        strongest = found[certificates.CONTRASTS[-1]].scalars
        run.number("surround suppression, E", 100 * strongest["suppression_E"], "%")
        return {
            "surround_suppression": strongest["suppression_E"],
            "preferred_size": strongest["preferred_E"],
        }

    def _paradox(self, scan: Result, run: Run) -> dict[str, Measured]:
        import numpy as np

        from bioviz_ssn.experiments import circuit_certificates as certificates
        from bioviz_ssn.experiments import circuit_pictures as pictures

        drives = np.linspace(0.2, 40, certificates.INPUTS)
        flip = pictures.paradox(run, drives, scan)
        run.number("paradoxical from drive", flip)
        return {"paradoxical_from": flip}


def feedforward_weights() -> np.ndarray:
    """Plaid weights of the same ring with W = 0, whose rates are phi(h)."""
    import numpy as np

    import bioviz_ssn as ssn
    from bioviz_ssn.analyses.plaids import STRENGTHS, summation

    ring = ssn.RingSSN.create()
    half = len(ring.orientations)
    c = np.array(STRENGTHS)[:, None]
    one, two = (c * np.asarray(ring.grating(1.0, angle))[:half] for angle in (45.0, 135.0))
    rates = [ring.law.k * np.maximum(h, 0) ** ring.law.n for h in (one, two, one + two)]
    return summation(rates[0] + rates[1], rates[2])[0]


def drawn_rings(rng: np.random.Generator, config: CircuitConfig) -> Rings:
    """Rings whose weights differ from the paper's, each by a factor of its own.

    A draw that does not settle at every contrast is refused and drawn anew, at most twenty times
    as often as rings are asked for.
    """
    import numpy as np

    import bioviz_ssn as ssn
    from bioviz_ssn.models.ring import WEIGHTS

    weights: list[np.ndarray] = []
    tries = 0
    while len(weights) < config.draws and tries < 20 * config.draws:
        tries += 1
        factor = 1 + config.spread * rng.uniform(-1, 1, (2, 2))
        j = np.array(WEIGHTS) * factor * 180 / config.points
        ring = ssn.RingSSN.create(j, points=config.points)
        components = np.stack([ring.grating(1.0, 45.0), ring.grating(1.0, 135.0)])
        try:
            found = ssn.plaid_weights(ring, ring.params, components)
        except ssn.FixedPointError:
            continue
        weights.append(found.arrays["weights"])
    return Rings(np.array(weights), tries - len(weights))
