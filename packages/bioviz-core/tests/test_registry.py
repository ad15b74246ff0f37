from __future__ import annotations

from types import SimpleNamespace

import bioviz_core as bv
import pytest
from bioviz_core.errors import (
    AmbiguousNameError,
    ApiMismatchError,
    BrokenPluginError,
    RegistrationError,
    UnknownNameError,
)
from bioviz_core.hooks import PLUGIN_API
from bioviz_core.refs import Recipe
from bioviz_core.registry import Registry, isolated_registry

NET = 'registry.model("net", "json:JSONEncoder", summary="A net")'


def hook(*lines: str, before: str = "", signature: str = "registry") -> str:
    body = "\n    ".join(lines or ("pass",))
    return (
        f"from bioviz_core import hookimpl\n{before}\n"
        f"@hookimpl\ndef bioviz_register({signature}):\n    {body}\n"
    )


def toy(*lines: str, name: str = "toy_module") -> SimpleNamespace:
    module = SimpleNamespace(__name__=name)
    exec(hook(*lines), vars(module))
    return module


def empty() -> Registry:
    with isolated_registry() as registry:
        return registry


def names(registry: Registry, plugin: str) -> list[str]:
    return [ref.name for ref in registry.list(pattern=f"{plugin}/*")]


def test_core_puts_the_plugins_name_before_every_name(site) -> None:
    site.install("toy")
    (ref,) = site.discover().list(pattern="toy/*")
    assert (ref.name, ref.plugin, ref.distribution) == ("toy/net", "toy", "bioviz-toy 1.0")


BROKEN = {
    "import error": ("import no_such_module", ModuleNotFoundError),
    "syntax error": ("def (", SyntaxError),
    "exit on import": ("import sys; sys.exit(3)", SystemExit),
    "exit while registering": (hook(NET, "raise SystemExit"), SystemExit),
    "half-done registration": (hook(NET, "raise RuntimeError('half')"), RuntimeError),
    "wrong signature": (hook(NET, signature="registry, run"), Exception),
    "bad hook name": (
        hook(NET, before="@hookimpl\ndef bioviz_run_startd(run):\n    pass"),
        RegistrationError,
    ),
    "no hook": ("x = 1", RegistrationError),
    "unmarked hook": (hook(NET).replace("@hookimpl", ""), RegistrationError),
    "other interface version": (hook(NET, before="BIOVIZ_API = 99"), ApiMismatchError),
    "foreign namespace": (hook(NET.replace('"net"', '"ssn/net"')), RegistrationError),
    "name twice": (hook(NET, NET), RegistrationError),
    "bad name": (hook(NET.replace('"net"', '"My_Net"')), RegistrationError),
    "no summary": (hook('registry.model("net", "json:loads")'), TypeError),
    "long summary": (hook(NET.replace("A net", "A net" * 20)), RegistrationError),
    "bad target": (hook(NET.replace("json:", "json.")), RegistrationError),
    "unknown paper": (hook(NET.replace('"A net"', '"A", paper="p"')), RegistrationError),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_plugin_is_absent_whole_and_leaves_others_usable(case, site, plugin_of) -> None:
    code, error = BROKEN[case]
    site.install("broken", code)
    site.install("alpha")
    site.install("zeta")
    registry = site.discover()
    plugin = plugin_of(registry, "broken")
    assert plugin.status == "broken"
    assert isinstance(plugin.error, error)
    assert plugin.error.__traceback__ is not None
    assert plugin.reason.startswith(type(plugin.error).__name__)
    assert names(registry, "broken") == []
    assert names(registry, "alpha") == ["alpha/net"]
    assert names(registry, "zeta") == ["zeta/net"]


def test_ctrl_c_while_loading_a_plugin_is_not_swallowed(site) -> None:
    site.install("toy", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        site.discover()


def test_a_broken_plugin_observes_no_runs(site) -> None:
    observer = "@hookimpl\ndef bioviz_run_started(run):\n    raise RuntimeError"
    site.install("toy", hook("raise ValueError", before=observer))
    registry = site.discover()
    assert registry.hooks.hook.bioviz_run_started.get_hookimpls() == []


def test_an_optional_hook_that_core_does_not_know_is_welcome(site, plugin_of) -> None:
    later = "@hookimpl(optionalhook=True)\ndef bioviz_from_the_future(x):\n    pass"
    site.install("toy", hook(NET, before=later))
    assert plugin_of(site.discover(), "toy").status == "ok"


def test_the_right_interface_version_loads(site, plugin_of) -> None:
    site.install("toy", hook(NET, before=f"BIOVIZ_API = {PLUGIN_API}"))
    assert plugin_of(site.discover(), "toy").status == "ok"


def test_two_strangers_with_one_name_both_stay_out(site, plugin_of) -> None:
    site.install("toy", distribution="a-toy")
    site.install("toy", distribution="b-toy")
    registry = site.discover()
    for distribution in ("a-toy", "b-toy"):
        plugin = plugin_of(registry, distribution)
        assert plugin.status == "broken"
        assert "a-toy 1.0, b-toy 1.0" in plugin.reason
    assert names(registry, "toy") == []


def test_a_squatter_is_shadowed_by_the_distribution_of_the_name(site, plugin_of) -> None:
    site.install("toy", hook(NET.replace('"net"', '"stolen"')), distribution="a-squatter")
    site.install("toy")
    registry = site.discover()
    assert plugin_of(registry, "a-squatter").status == "shadowed"
    assert plugin_of(registry, "bioviz-toy").status == "ok"
    assert names(registry, "toy") == ["toy/net"]


def test_nobody_else_can_be_core(site, plugin_of) -> None:
    site.install("core", distribution="a-stranger")
    registry = site.discover()
    assert plugin_of(registry, "a-stranger").status == "shadowed"
    assert "core/net" not in names(registry, "core")


def test_core_is_reserved_even_where_bioviz_core_has_no_metadata(site, monkeypatch) -> None:
    site.install("core", distribution="a-stranger")
    monkeypatch.setattr("sys.path", [str(site.folder)])
    registry = site.discover()
    (plugin,) = registry.plugins()
    assert (plugin.status, registry.list()) == ("broken", [])
    assert "reserved" in plugin.reason


def test_a_name_that_is_not_kebab_case_is_no_namespace(site, plugin_of) -> None:
    site.install("My_Toy", distribution="my-toy")
    assert plugin_of(site.discover(), "my-toy").status == "broken"


@pytest.mark.parametrize(
    ("variable", "value", "left"),
    [
        ("BIOVIZ_PLUGINS", "alpha, core", ["alpha/net"]),
        ("BIOVIZ_BLOCK", "alpha,zzz", ["beta/net"]),
        ("BIOVIZ_PLUGINS", "", ["alpha/net", "beta/net"]),
    ],
)
def test_the_environment_chooses_plugins(
    variable, value, left, site, plugin_of, monkeypatch
) -> None:
    site.install("alpha", "raise RuntimeError" if variable == "BIOVIZ_BLOCK" else hook(NET))
    site.install("beta")
    monkeypatch.setenv(variable, value)
    registry = site.discover()
    assert names(registry, "alpha") + names(registry, "beta") == left
    statuses = {plugin_of(registry, name).status for name in ("alpha", "beta")}
    assert statuses == ({"ok", "blocked"} if len(left) == 1 else {"ok"})
    assert plugin_of(registry, "core").status == "ok"


def test_strict_raises_at_the_first_failure(site, monkeypatch) -> None:
    site.install("toy", "raise RuntimeError('no luck')")
    monkeypatch.setenv("BIOVIZ_STRICT", "1")
    with pytest.raises(BrokenPluginError, match="no luck") as caught:
        site.discover()
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_name_of_a_broken_plugin_is_not_unknown(site) -> None:
    site.install("toy", "raise RuntimeError('no luck')")
    with pytest.raises(BrokenPluginError, match=r"no luck.*bioviz doctor") as caught:
        site.discover().get("toy/net")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_name_of_a_blocked_plugin_says_what_blocks_it(site, monkeypatch) -> None:
    site.install("toy")
    monkeypatch.setenv("BIOVIZ_BLOCK", "toy")
    with pytest.raises(BrokenPluginError, match="BIOVIZ_BLOCK"):
        site.discover().ref("toy/net")


def test_listing_is_in_natural_order_and_takes_patterns() -> None:
    registry = empty()
    lines = [
        f'registry.model("layer{n}", "json:loads", summary="A layer", framework="torch")'
        for n in (10, 2, 1)
    ]
    registry.register(
        toy(*lines, 'registry.rule("oja", "json:loads", summary="A rule")'), name="toy"
    )
    assert [ref.name for ref in registry.list("model")] == [
        "toy/layer1",
        "toy/layer2",
        "toy/layer10",
    ]
    assert [ref.kind for ref in registry.list()] == ["rule", "model", "model", "model"]
    assert [ref.name for ref in registry.list("model", "*1*")] == ["toy/layer1", "toy/layer10"]


def test_unknown_names_come_with_near_matches() -> None:
    registry = empty()
    registry.register(toy(NET.replace('"net"', '"two-layer"')), name="toy")
    for asked in ("toy/two-layr", "two-layer"):
        with pytest.raises(UnknownNameError, match="Did you mean toy/two-layer"):
            registry.get(asked)
    with pytest.raises(UnknownNameError, match="Did you mean model"):
        registry.list("modle")


def test_a_name_of_two_kinds_needs_its_kind() -> None:
    registry = empty()
    registry.register(toy(NET, NET.replace("model", "rule")), name="toy")
    with pytest.raises(AmbiguousNameError, match="kind='rule'"):
        registry.ref("toy/net")
    assert registry.ref("toy/net", kind="model").kind == "model"


def test_registering_by_hand_raises_and_leaves_nothing() -> None:
    registry = empty()
    with pytest.raises(ZeroDivisionError):
        registry.register(toy(NET, "1 / 0"), name="toy")
    assert (registry.list(), registry.plugins()) == ([], [])
    registry.register(toy(NET), name="toy")
    assert names(registry, "toy") == ["toy/net"]


def test_one_module_is_one_plugin() -> None:
    registry, module = empty(), toy(NET)
    registry.register(module, name="one")
    with pytest.raises(RegistrationError, match=r"two \(toy_module\) is registered already"):
        registry.register(module, name="two")
    assert [ref.name for ref in registry.list()] == ["one/net"]


def test_a_name_taken_by_hand_cannot_be_taken_again() -> None:
    registry = empty()
    registry.register(toy(NET, name="first"), name="toy")
    with pytest.raises(RegistrationError, match="registered already"):
        registry.register(toy(NET, name="second"), name="toy")
    assert [plugin.distribution for plugin in registry.plugins()] == ["first"]


def test_two_modules_of_one_name_fail_with_a_reason() -> None:
    registry = empty()
    registry.register(toy(NET), name="toy")
    with pytest.raises(RegistrationError, match=r"toy \(toy_module\) is registered already"):
        registry.register(toy(NET.replace('"net"', '"other"')), name="toy")
    assert names(registry, "toy") == ["toy/net"]


def test_refresh_finds_new_plugins_and_keeps_those_added_by_hand(site) -> None:
    registry = site.discover()
    registry.register(toy(NET), name="mine")
    site.install("toy")
    registry.discover()
    assert names(registry, "toy") == []
    registry.refresh()
    assert names(registry, "toy") + names(registry, "mine") == ["toy/net", "mine/net"]


def test_an_isolated_registry_is_empty_and_the_one_before_comes_back() -> None:
    before = [ref.name for ref in bv.list()]
    with isolated_registry() as registry:
        bv.register(toy(NET), name="toy")
        assert [ref.name for ref in bv.list()] == ["toy/net"]
        assert [plugin.name for plugin in bv.plugins()] == ["toy"]
        assert registry.list() == bv.list()
    assert [ref.name for ref in bv.list()] == before


def test_what_create_makes_remembers_its_recipe() -> None:
    with isolated_registry() as registry:
        registry.register(
            toy(
                'registry.model("space", "types:SimpleNamespace", summary="Takes attributes")',
                'registry.model("dict", "builtins:dict", summary="Takes none")',
            ),
            name="toy",
        )
        made = bv.create("toy/space", width=3)
        assert made.recipe == Recipe("toy/space", {"width": 3})
        assert bv.create("toy/dict", width=3) == {"width": 3}


def test_papers_belong_to_their_plugin() -> None:
    registry = empty()
    for name, year in (("one", 2001), ("two", 2002)):
        lines = (
            f'registry.paper("p", title="On {name}", authors=("A",), year={year})',
            NET.replace('"A net"', '"A net", paper="p"'),
        )
        registry.register(toy(*lines, name=name), name=name)
    years = [registry.paper(registry.ref(f"{name}/net")).year for name in ("one", "two")]
    assert years == [2001, 2002]


def test_a_paper_is_registered_once() -> None:
    line = 'registry.paper("p", title="On p", authors=("A",), year=2000)'
    with pytest.raises(RegistrationError, match="twice"):
        empty().register(toy(line, line), name="toy")


def test_every_installed_plugin_of_this_repository_loads() -> None:
    statuses = {plugin.name: (plugin.status, plugin.reason) for plugin in Registry().plugins()}
    assert statuses["core"] == ("ok", "")
    assert {status for status, _ in statuses.values()} == {"ok"}
