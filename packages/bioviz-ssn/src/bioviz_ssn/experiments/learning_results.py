"""Numbers of perceptual learning: what claims judge, tables, key numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from bioviz_core.interfaces import Measured
from bioviz_core.lab import seeding
from bioviz_core.lab.run import Run

from bioviz_ssn.analyses.mvpa import Decoding, Mahalanobis
from bioviz_ssn.analyses.tuning_curves import TuningFeatures, tuning_curves
from bioviz_ssn.experiments.arms import Outcome, member_with_bank
from bioviz_ssn.linearization import SLOWEST
from bioviz_ssn.models.cohort import observe
from bioviz_ssn.parameters import NAMES
from bioviz_ssn.rejection import Accepted

LAYERS = ("middle", "superficial")
LATE = 100  # steps
CONTROL = 0.0
ORIENTATIONS = (55.0, 125.0)


def measured(outcome: Outcome) -> dict[str, Measured]:
    """What the claims on parameters and thresholds judge, one number per seed."""
    change = outcome.change()
    falls = {place: outcome.log_fall(found) for place, found in outcome.refitted.items()}
    kappas = {
        group: np.mean([change[name] for name in change if name.startswith(group)], axis=0)
        for group in ("kappa_s_pre", "kappa_s_post", "kappa_m", "kappa_f")
    }
    numbers = {
        "threshold_fall": outcome.log_fall(outcome.threshold),
        "threshold_fall_55_minus_125": falls["trained"] - falls["untrained"],
        "ei_s": change["ei_s"],
        "ei_m": change["ei_m"],
        "ei_s_minus_m": change["ei_s"] - change["ei_m"],
        **{name: change[name] for name in change if name.startswith(("J_", "f_"))},
        **{f"fall_{name}": -change[name] for name in ("J_EE_s", "J_EE_m")},
        # Baselines are shared: the superficial layer's are the middle layer's.
        "c_I": change["c_I_m"],
        "fall_c_E": -change["c_E_m"],
        **kappas,
    }
    return {name: values.tolist() for name, values in numbers.items()}


def against_shuffled(true: Outcome, shuffled: Outcome) -> dict[str, Measured]:
    """How far the layers' difference in inhibition depends on the labels of pretraining."""
    both = [arm.change()["ei_s"] - arm.change()["ei_m"] for arm in (true, shuffled)]
    return {"true_minus_shuffled": (both[0] - both[1]).tolist()}


def stability(rates: np.ndarray) -> dict[str, Measured]:
    """By seed, 1 where the slowest mode stayed at half `rho_min` or above at the end, else 0."""
    late = [rates[np.isfinite(rates[:, k]), k][-LATE:] for k in range(rates.shape[1])]
    stays = [float(seed.min() >= SLOWEST / 2) if len(seed) else float("nan") for seed in late]
    return {"stays_stable": stays}


def decoding(outcome: Outcome, trials: int) -> dict[str, np.ndarray]:
    """Decoding against 0 degrees and Mahalanobis ratios: `(2, seeds, layers, orientations)`.

    The first axis is before and after fine training.
    """
    shape = (2, len(outcome.seeds), len(LAYERS), len(ORIENTATIONS))
    found = {name: np.full(shape, np.nan) for name in ("accuracy", "snr")}
    for stage, cohort in enumerate((outcome.before, outcome.after)):
        for k, orientation in enumerate(ORIENTATIONS):
            noise = [
                seeding.rng(seed, "decoding", k).standard_normal((trials, 2, cohort.n_noise))
                for seed in outcome.seeds
            ]
            shown = np.full((trials, len(outcome.seeds), 2), [orientation, CONTROL], np.float32)
            rates = observe(cohort, shown, np.stack(noise, 1).astype(np.float32)).rates
            for place in np.flatnonzero(outcome.valid):
                for layer in range(len(LAYERS)):
                    own = np.asarray(rates[:, place, :, layer])
                    data = {
                        "rates": np.concatenate([own[:, 0], own[:, 1]]),
                        "labels": np.repeat([int(orientation), int(CONTROL)], trials),
                        "control": np.asarray(int(CONTROL)),
                    }
                    at = (stage, place, layer, k)
                    found["accuracy"][at] = Decoding()(data).scalars["accuracy"]
                    found["snr"][at] = Mahalanobis()(data).arrays["snr"][0]
    return found


def decoding_gains(found: Mapping[str, np.ndarray]) -> dict[str, Measured]:
    """Gains in points: at 55 degrees S minus M, and in S 55 minus 125."""
    gain = 100 * (found["accuracy"][1] - found["accuracy"][0])
    return {
        "decoding_gain_s_minus_m": (gain[:, 1, 0] - gain[:, 0, 0]).tolist(),
        "decoding_gain_55_minus_125": (gain[:, 1, 0] - gain[:, 1, 1]).tolist(),
    }


def tuning(outcome: Outcome, maps: np.ndarray, seeds: int) -> dict[str, dict[str, np.ndarray]]:
    """Features of the E cells' tuning curves by layer, `(2, seeds, cells)`, before and after."""
    places = np.flatnonzero(outcome.valid)[:seeds]
    rows: dict[str, dict[str, list[list[np.ndarray]]]] = {layer: {} for layer in LAYERS}
    for place in places:
        for stage, cohort in enumerate((outcome.before, outcome.after)):
            member = member_with_bank(cohort, int(place), maps[place])
            curves = tuning_curves(member, member.params).arrays
            for layer in LAYERS:
                e_cells = curves[layer].reshape(len(curves["orientations"]), -1, 2, maps.shape[1])
                data = {
                    "orientations": curves["orientations"],
                    "curves": e_cells[:, :, 0].reshape(len(e_cells), -1),
                }
                for name, values in TuningFeatures()(data).arrays.items():
                    rows[layer].setdefault(name, [[], []])[stage].append(values)
    return {
        layer: {name: np.array(both) for name, both in of.items()} for layer, of in rows.items()
    }


def tables(
    run: Run,
    accepted: Accepted,
    outcome: Outcome,
    decoded: Mapping[str, np.ndarray],
    tuned: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Initial parameters, what training did to each, thresholds, decoding, tuning."""
    first, second = outcome.parameters()
    seeds = list(outcome.seeds)
    gains = np.asarray(accepted.cohort.table.gains)
    run.table(
        "initial-parameters",
        {
            "seed": seeds,
            **{name: first[:, k].tolist() for k, name in enumerate(NAMES)},
            "g_E": gains[:, 0].tolist(),
            "g_I": gains[:, 1].tolist(),
            "learning_rate": accepted.learning_rates.tolist(),
        },
        "Parameters at the start of fine training, the filters' gains and the learning rates.",
    )
    run.table(
        "trained-parameters",
        {"seed": seeds, **{name: second[:, k].tolist() for k, name in enumerate(NAMES)}},
        "Parameters after fine training.",
    )
    thresholds = {
        f"{place}_{when}": found[k].tolist()
        for place, found in {"own_readout": outcome.threshold, **outcome.refitted}.items()
        for k, when in enumerate(("before", "after"))
    }
    run.table(
        "thresholds",
        {"seed": seeds, **thresholds},
        "Thresholds in degrees: of the frozen readout about 55, and of readouts fitted anew about "
        "55 (trained) and 125 degrees (untrained), before and after fine training.",
    )
    run.table("decoding", _long(outcome, decoded), "Decoding and Mahalanobis ratio by layer.")
    refused = [
        {"seed": seed, "condition": name, "draws": count}
        for seed, failures in zip(seeds, accepted.failures, strict=True)
        for name, count in sorted(failures.items())
    ]
    columns = {key: [row[key] for row in refused] for key in ("seed", "condition", "draws")}
    run.table("refused-draws", columns, "How many draws of initial parameters each rule refused.")
    for layer, features in tuned.items():
        for name in features:
            run.array(f"tuning-{layer}-{name.replace('_', '-')}", features[name])


def excluded(run: Run, label: str, outcome: Outcome) -> None:
    """Every seed that does not count, and why."""
    left = outcome.left_out
    run.table(
        f"excluded-{label}",
        {"seed": [outcome.seeds[place] for place in left], "why": list(left.values())},
        f"Seeds of the arm {label} that do not count, with the reason: {len(left)} of "
        f"{len(outcome.seeds)}.",
    )


def tiles(run: Run, outcome: Outcome) -> None:
    """The key numbers of the report."""
    change = outcome.change()
    both = np.array([outcome.missing(row) for row in outcome.threshold])
    for label, values, unit in (
        ("threshold before", both[0], "deg"),
        ("threshold after", both[1], "deg"),
        ("I/E superficial", change["ei_s"], "%"),
        ("I/E middle", change["ei_m"], "%"),
        ("seeds that count", np.array([outcome.valid.sum()]), f"of {len(outcome.seeds)}"),
    ):
        known = values[np.isfinite(values)]
        if len(known):
            run.number(label, float(np.median(known)), unit)


def _long(outcome: Outcome, decoded: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
    rows = [
        (outcome.seeds[place], ("before", "after")[stage], LAYERS[layer], ORIENTATIONS[k])
        for stage, place, layer, k in np.ndindex(*decoded["accuracy"].shape)
    ]
    names = ("seed", "stage", "layer", "orientation")
    columns: dict[str, list[Any]] = {n: [row[k] for row in rows] for k, n in enumerate(names)}
    return columns | {name: values.ravel().tolist() for name, values in decoded.items()}
