"""What `ssn/circuit` claims; as in the library's table of claims, fixed before it was run."""

from __future__ import annotations

from bioviz_core import Claim
from bioviz_core.interfaces import Part

RESIDUAL = Claim(
    id="ssn-residual",
    sentence="Every accepted network is solved to the precision of its numbers",
    source="theory",
    metric="residual",
    rule="<=",
    bound=1e-10,
    unit="Hz",
    tags=("certificate",),
    also=(
        Part("float32_residual_over_bound", "<=", 1.0),
        Part("unconverged", "exact", 0),
        Part("slow_systems", ">=", 1000),
    ),
)
"""`float32_residual_over_bound` is the largest residual over `1e-5 (1 + max r)`."""

GENERIC = Claim(
    id="normalization-is-generic",
    sentence="Most rings with other weights pass from supralinear to sublinear summation too",
    source="Rubin 2015",
    metric="normalized_share",
    rule=">",
    bound=0.8,
    seeds=8,
)


CLAIMS = (
    RESIDUAL,
    Claim(
        id="ssn-closed-forms",
        sentence="One cell, two cells and the ring have their known steady rates",
        source="theory; Rubin 2015",
        metric="closed_form_error",
        rule="<=",
        bound=5e-6,
        unit="Hz",
        tags=("certificate",),
    ),
    Claim(
        id="paradoxical-flip",
        sentence="Driving the I cell lowers its rate exactly where E alone would run away",
        source="theory",
        metric="sign_agreements",
        rule="share",
        bound="200/200",
        tags=("certificate",),
    ),
    Claim(
        id="supra-to-sublinear",
        sentence="Summation of a plaid passes from supralinear to sublinear with contrast",
        source="Rubin 2015",
        metric="plaid_weight_error",
        rule="<=",
        bound=1e-3,
        tags=("certificate",),
        also=(
            Part("feedforward_weight_error", "<=", 1e-3),
            Part("feedforward_table_error", ">", 1e-3),
        ),
    ),
    GENERIC,
)
"""`feedforward_table_error` is the wrong variant that must fail: without recurrence the weight
stays at 1.125 at every contrast, far from the table."""
