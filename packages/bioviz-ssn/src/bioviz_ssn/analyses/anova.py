"""Two-way analysis of variance: stage of training by orientation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from bioviz_core.analyses.responses import given
from bioviz_core.errors import DataError, MissingDependencyError
from bioviz_core.interfaces import Result

MODEL = "values ~ C(stage) * C(orientation)"


class TwoWayAnova:
    """Whether a measure depends on stage, on orientation, and on one by the other."""

    needs = ("values", "stage", "orientation")

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Scalars `f_`, `p_` and `partial_eta2_` of stage, orientation and `interaction`.

        `values`, `stage` and `orientation` have one entry per observation. Type II sums of
        squares, so that unequal numbers of observations do not mix the factors.
        """
        try:
            import pandas as pd
            from statsmodels.formula.api import ols
            from statsmodels.stats.anova import anova_lm
        except ImportError as error:
            raise MissingDependencyError(
                "the analysis of variance needs statsmodels: pip install 'bioviz-ssn[anova]'"
            ) from error
        columns = {key: np.asarray(given(data, key)).ravel() for key in self.needs}
        _check(columns)
        table = anova_lm(ols(MODEL, pd.DataFrame(columns)).fit(), typ=2)
        squares, f, p = (table[name].to_numpy(float) for name in ("sum_sq", "F", "PR(>F)"))
        scalars: dict[str, float] = {}
        for k, name in enumerate(("stage", "orientation", "interaction")):
            scalars[f"f_{name}"], scalars[f"p_{name}"] = float(f[k]), float(p[k])
            scalars[f"partial_eta2_{name}"] = float(squares[k] / (squares[k] + squares[-1]))
        arrays = {"sum_sq": squares, "degrees": table["df"].to_numpy(float), "f": f, "p": p}
        return Result(scalars, arrays)


def _check(columns: Mapping[str, np.ndarray]) -> None:
    sizes = {key: len(values) for key, values in columns.items()}
    if len(set(sizes.values())) != 1:
        raise DataError(f"values, stage and orientation must be as long, got {sizes}")
    if not np.isfinite(columns["values"].astype(float)).all():
        raise DataError("values hold numbers that are not finite")
    cells = set(zip(columns["stage"], columns["orientation"], strict=True))
    stages, shown = (len(np.unique(columns[key])) for key in ("stage", "orientation"))
    if stages < 2 or shown < 2 or len(cells) < stages * shown or sizes["values"] <= len(cells):
        raise DataError(
            f"needs two or more stages and orientations, every combination of them and more "
            f"observations than combinations; got {stages} x {shown} with {len(cells)} and "
            f"{sizes['values']} observations"
        )
