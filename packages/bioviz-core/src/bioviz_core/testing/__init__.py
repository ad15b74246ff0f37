"""Checks that plugin authors run on their own code; they need pytest and nothing else.

    @parametrize_with_checks(rules=["oja/oja"], models=[Case("toy/net", task=Task(make_net))])
    def test_conforms(case, check):
        check(case)

Each check is a function `check_KIND_...` of one `Case`; its docstring says why it matters and how
to fix a failure, and is shown with the failure. `CHECKS` has them by kind.
"""

from __future__ import annotations

from bioviz_core.testing.cases import CHECKS as CHECKS
from bioviz_core.testing.cases import check_local_rule as check_local_rule
from bioviz_core.testing.cases import check_plugin as check_plugin
from bioviz_core.testing.cases import parametrize_with_checks as parametrize_with_checks
from bioviz_core.testing.tasks import Case as Case
from bioviz_core.testing.tasks import Task as Task
from bioviz_core.testing.tasks import reference_task as reference_task
