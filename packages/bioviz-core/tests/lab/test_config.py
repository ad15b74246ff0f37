from __future__ import annotations

import hashlib
import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from bioviz_core.errors import ConfigError, Problem
from bioviz_core.lab.config import Config, Field, ModelInput, changed, options, read, resolve
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError, model_validator


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Solver(Config):
    tol: float = Field(1e-5, gt=0)
    """Stop when the residual norm is below this."""
    max_steps: int = Field(500, ge=1, le=10_000)
    """Steps before
    the solver gives up."""


class Study(Config):
    solver: Solver = Solver(max_steps=50)
    """How fixed points are found."""
    lr: float = Field(0.1, gt=0, le=1)
    """Step size."""
    noise: Literal["clean", "noisy"] = "clean"
    color: Color = Color.RED
    label: str = "none"
    limit: int | None = None
    sizes: tuple[int, ...] = (1, 2)
    gains: dict[str, float] = Field(default_factory=dict)
    flag: bool = False


PRESETS = {"smoke": {"solver.tol": 1e-2, "lr": 0.5}, "paper": {"solver": {"tol": 1e-9}}}


def study(*sets: str, preset: str | None = None, file: object = None, **arguments: object) -> Study:
    return resolve(
        Study,
        name="ssn/study",
        preset_name=preset,
        presets=PRESETS,
        file=file,  # type: ignore[arg-type]
        sets=sets,
        options=arguments,
    )


def problems(*sets: str, **sources: object) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        study(*sets, **sources)  # type: ignore[arg-type]
    return caught.value.problems


def test_later_layers_win(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('lr = 0.3\nlabel = "file"\n[solver]\nmax_steps = 7\n')
    config = study("lr=0.2", "label=set", preset="smoke", file=file, label="argument")
    assert (config.solver.tol, config.solver.max_steps) == (1e-2, 7)
    assert (config.lr, config.label, config.noise) == (0.2, "argument", "clean")


def test_a_layer_over_one_key_keeps_what_the_default_sets_beside_it() -> None:
    assert study("solver.tol=1e-3").solver == Solver(tol=1e-3, max_steps=50)


def test_set_takes_toml_values_then_bare_strings() -> None:
    config = study("solver.tol=1e-6", "sizes=[3, 4]", "noise=noisy", 'label="a b"', "flag=true")
    assert config == Study(
        solver=Solver(tol=1e-6, max_steps=50),
        sizes=(3, 4),
        noise="noisy",
        label="a b",
        flag=True,
    )


def test_a_string_that_reads_as_another_value_is_quoted() -> None:
    assert study('label="3"').label == "3"
    assert study("label=null-ish").label == "null-ish"
    assert study("label=a=b").label == "a=b"
    (problem,) = problems("label=3")
    assert problem.message == "3 must be a valid string"


def test_null_clears_an_optional_field() -> None:
    assert study("limit=null", file={"limit": 3}).limit is None


def test_a_set_value_cannot_smuggle_in_other_keys() -> None:
    assert study("label=1\nlr = 0.9").lr == 0.1


def test_dots_below_the_top_belong_to_the_name() -> None:
    assert study(file={"gains": {"layer3.0": 2}}).gains == {"layer3.0": 2.0}


def test_all_problems_come_at_once_with_path_value_range_and_source(tmp_path: Path) -> None:
    file = tmp_path / "ssn.toml"
    file.write_text('sizes = "x"\n[solver]\ntol = -2.0\n')
    found = problems("solver.max_step=10", "lr=-1", "noise=nosy", file=file)
    assert found == (
        Problem("solver.tol", "-2.0 must be greater than 0", "ssn.toml"),
        Problem("solver.max_step", "unknown key", "--set", ("solver.max_steps",)),
        Problem("lr", "-1 must be greater than 0", "--set"),
        Problem("noise", "'nosy' must be 'clean' or 'noisy'", "--set", ("noisy",)),
        Problem("sizes", "'x' must be a valid tuple", "ssn.toml"),
    )


def test_the_message_is_the_one_of_the_manual() -> None:
    with pytest.raises(ConfigError) as caught:
        study("solver.max_step=10", "lr=-1")
    assert str(caught.value).splitlines() == [
        "2 problems in the configuration of ssn/study",
        "  solver.max_step  unknown key (from --set). Did you mean solver.max_steps?",
        "  lr               -1 must be greater than 0 (from --set).",
    ]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("limit=few", "limit", "'few' must be a valid integer"),
        ("lr=nan", "lr", "nan must be a finite number"),
        ("lr=inf", "lr", "inf must be a finite number"),
        ("flag=7", "flag", "7 must be a valid boolean"),
        ("sizes=[1, 2.5]", "sizes.1", "2.5 must be a valid integer"),
        ("solver=3", "solver", "3 must be a valid dictionary or instance of Solver"),
        ("gains.a=b", "gains.a", "'b' must be a valid number"),
        ("color=rd", "color", "'rd' must be 'red' or 'blue'"),
        ("=1", "--set", "'=1' must have the form path.to.option=value"),
        ("solver..tol=1", "--set", "'solver..tol=1' must have the form path.to.option=value"),
    ],
)
def test_each_slip_is_named(text: str, path: str, message: str) -> None:
    (problem,) = problems(text)
    assert (problem.path, problem.message) == (path, message)


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [
        ("slover.tol", "solver"),
        ("max_steps", "solver.max_steps"),
        ("solver.lr", "lr"),
        ("zzzz", None),
    ],
)
def test_unknown_keys_get_a_near_match(unknown: str, meant: str | None) -> None:
    (problem,) = problems(f"{unknown}=1")
    assert problem.close == (() if meant is None else (meant,))


def test_an_unknown_preset_is_a_problem_with_a_near_match() -> None:
    (problem,) = problems(preset="smok")
    assert (problem.message, problem.close) == ("'smok' must be one of smoke, paper", ("smoke",))


def test_a_file_for_another_experiment_is_refused() -> None:
    (problem,) = problems(file={"experiment": "butd/mnist"})
    assert problem.path == "experiment"


@pytest.mark.parametrize("text", ["lr = ", "[a", "lr = 1\nlr = 2", "a = " + "[" * 5000])
def test_a_file_that_is_not_toml_is_one_problem(text: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    (problem,) = problems(file=file)
    assert "cannot be read as TOML" in problem.message


def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for name in ("absent.toml", "list.json", "bytes.toml", "."):
        assert len(problems(file=tmp_path / name)) == 1


def test_the_whole_config_repeats_itself_through_json(tmp_path: Path) -> None:
    config = study("gains.a=2", "color=blue", preset="smoke")
    file = tmp_path / "config.json"
    header = {"experiment": "ssn/study", "preset": "smoke", "seed": 3}
    file.write_text(json.dumps(header | config.model_dump(mode="json")))
    assert study(file=file, preset="smoke") == config
    assert read(file)["seed"] == 3


class Newton(Config):
    kind: Literal["newton"] = "newton"
    tol: float = Field(1.0, gt=0)


class Euler(Config):
    kind: Literal["euler"] = "euler"
    dt: float = Field(1.0, gt=0)


class Choosing(Config):
    method: Annotated[Newton | Euler, Field(discriminator="kind")] = Newton()
    either: Newton | Euler = Newton()
    count: int | tuple[int, ...] = 3
    rate: float | Literal["auto"] = "auto"
    stages: list[Newton] = Field(default_factory=list)
    limit: Annotated[float, Field(gt=0)] | None = None
    pair: tuple[float, float] = (1, 2)


def choosing(*sets: str, **arguments: object) -> Choosing:
    return resolve(Choosing, name="x/y", preset_name=None, presets={}, sets=sets, options=arguments)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('method={kind="newton", tol=-1}', "method.tol", "-1 must be greater than 0"),
        ("method.tol=2", "method", "Unable to extract tag using discriminator 'kind'"),
        ("either.tol=-1", "either.tol", "-1 must be greater than 0"),
        ("count=a", "count", "'a' must be a valid integer or must be a valid tuple"),
        ("rate=aut", "rate", "'aut' must be a valid number or must be 'auto'"),
        ("stages=[{tol=-1}]", "stages.0.tol", "-1 must be greater than 0"),
        ("limit=-1", "limit", "-1 must be greater than 0"),
        ("pair=[1, 2, 3]", "pair", "Tuple should have at most 2 items after validation, not 3"),
        ("pair=[1]", "pair.1", "Field required"),
    ],
)
def test_a_slip_in_one_of_several_forms_is_named_once(text: str, path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choosing(text)
    (problem,) = caught.value.problems
    assert (problem.path, problem.message) == (path, message)


def test_a_table_can_be_chosen_among_several() -> None:
    assert choosing("method.kind=euler", "method.dt=2").method == Euler(dt=2)
    assert choosing(method=Euler(dt=3), stages=[Newton()]).method == Euler(dt=3)
    told = {option.path: option.type for option in options(Choosing)}
    assert told["method"] == "Newton | Euler"
    assert told["stages"] == "list[Newton]"
    assert told["pair"] == "tuple[float, float]"
    assert told["limit"] == "float | None"


def test_defaults_are_checked_and_configs_are_frozen() -> None:
    class Wrong(Config):
        rate: float = Field(-1.0, gt=0)

    with pytest.raises(ConfigError, match=r"rate  -1\.0 must be greater than 0"):
        resolve(Wrong, name="x/y", preset_name=None, presets={})
    with pytest.raises(ValidationError):
        Solver().tol = 1.0  # type: ignore[misc]


def test_required_options_say_so() -> None:
    class Needy(Config):
        size: int

    with pytest.raises(ConfigError, match="size  Field required"):
        resolve(Needy, name="x/y", preset_name=None, presets={})
    assert options(Needy)[0].required


def test_reserved_names_are_refused_as_fields() -> None:
    class Taken(Config):
        device: str = "cpu"

    with pytest.raises(ConfigError, match="device  is a reserved name"):
        resolve(Taken, name="x/y", preset_name=None, presets={})


def test_what_a_validator_says_is_a_problem() -> None:
    class Fitting(Config):
        part: float = 1.0
        whole: float = 1.0

        @model_validator(mode="after")
        def _fits(self) -> Fitting:
            if self.part > self.whole:
                raise ValueError("part exceeds whole")
            return self

    with pytest.raises(ConfigError, match="configuration  part exceeds whole"):
        resolve(Fitting, name="x/y", preset_name=None, presets={}, options={"whole": 0.5})


def test_options_list_every_leaf_with_type_default_and_meaning() -> None:
    found = {option.path: option for option in options(Study)}
    assert found["solver.tol"].meaning == "Stop when the residual norm is below this."
    assert found["solver.max_steps"].meaning == "Steps before the solver gives up."
    assert found["solver.max_steps"].default == 50
    assert found["noise"].type == "clean|noisy"
    assert found["limit"].type == "int | None"
    assert found["sizes"].default == [1, 2]
    assert list(found)[:3] == ["solver.tol", "solver.max_steps", "lr"]


def test_changed_shows_only_what_differs_from_the_defaults() -> None:
    config = study("lr=0.2", "gains.a=1")
    expected = {"lr": (0.1, 0.2), "gains": ({}, {"a": 1.0})}
    assert changed(config, Study) == expected
    stored = {"experiment": "ssn/study", "seed": 0, **config.model_dump(mode="json")}
    assert changed(json.loads(json.dumps(stored)), Study) == expected
    assert changed(Study(), Study) == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
keys = st.sampled_from([*Study.model_fields, "solver.tol", "solver.x", "x", "", "."])


@given(
    file=st.dictionaries(keys, json_values, max_size=3),
    sets=st.lists(st.builds("{}={}".format, keys, st.text(max_size=6)), max_size=3),
)
def test_nothing_but_config_error_leaves_resolve(file: dict[str, object], sets: list[str]) -> None:
    found: tuple[Problem, ...] = ()
    try:
        assert isinstance(study(*sets, file=file), Study)
    except ConfigError as error:
        found = error.problems
    assert all(problem.path and problem.message for problem in found)


class Transfer(Config):
    model: ModelInput


def transfer(path: object) -> Transfer:
    given_as = {"model": path}
    return resolve(Transfer, name="x/y", preset_name=None, presets={}, options=given_as)


def test_a_model_input_finds_the_model_of_a_run_and_hashes_it(tmp_path: Path) -> None:
    file = tmp_path / "models" / "net.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    for given_as in (tmp_path, str(file)):
        config = transfer(given_as)
        assert config.model.file == file
        assert config.model.sha256 == hashlib.sha256(b"weights").hexdigest()
        assert config.model_dump(mode="json") == {"model": str(given_as)}
    assert options(Transfer)[0].type == "ModelInput"


def test_a_model_input_that_names_no_one_model_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with pytest.raises(ConfigError, match="must be a model file or a run with one model"):
        transfer(tmp_path)
    for name in "ab":
        (tmp_path / "models" / f"{name}.safetensors").touch()
    with pytest.raises(ConfigError, match=r"one model, not .*a\.safetensors"):
        transfer(tmp_path)
    with pytest.raises(ConfigError, match="absent must be a model file"):
        transfer(tmp_path / "absent")
    with pytest.raises(ConfigError, match="Input is not a valid path"):
        transfer(3)
