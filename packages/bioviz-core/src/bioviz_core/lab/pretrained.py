"""Models as single files: registered name, options, state, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bioviz_core.errors import CheckpointError
from bioviz_core.lab.checkpoint import encode, load_tree, read_extra, rebuild, save_tree
from bioviz_core.refs import Recipe
from bioviz_core.registry import registry


def save_model(
    model: Any, path: str | Path, *, recipe: Recipe | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write a model that `load_model` builds again.

    `recipe` is how to make one like it; `bioviz_core.create` leaves it on the model. Raises
    `CheckpointError` where there is none, or where its options hold arrays or objects.
    """
    path = Path(path)
    recipe = recipe or getattr(model, "recipe", None)
    if not isinstance(recipe, Recipe):
        raise CheckpointError(
            f"this {type(model).__name__} does not say how it was made: make it with "
            "bioviz_core.create, or give recipe=Recipe(name, options)"
        )
    ref = registry().ref(recipe.name, kind="model")
    arrays: dict[str, Any] = {}
    options = encode(recipe.options, "options", arrays)
    if arrays:
        raise CheckpointError("a recipe holds numbers and text, not arrays", path=min(arrays))
    made = {"name": recipe.name, "options": options, "distribution": ref.distribution}
    save_tree(path, {"model": model}, extra={**made, "provenance": dict(provenance or {})})
    return path


def load_model(path: str | Path) -> Any:
    """Build the model that a file describes and fill in its state."""
    path = Path(path)
    extra = read_extra(path)
    if "options" not in extra:
        raise CheckpointError(f"{path} is a checkpoint, not a model: read it through its run")
    options = rebuild(extra["options"], "options", _no_array)
    model = registry().create(extra["name"], kind="model", **options)
    return load_tree(path, {"model": model})["model"]


def _no_array(path: str) -> Any:
    raise CheckpointError("a recipe holds no arrays", path=path)
