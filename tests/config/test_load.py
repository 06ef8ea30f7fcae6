"""Loading: every fault at once and by its key, no value that could be a secret, the origin of each value."""

import json
import os
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from config.home import NETWORK, Home
from hypothesis import given
from hypothesis import strategies as st

from tradeguard import ConfigError, Policy
from tradeguard.backends.memory import Memory
from tradeguard.backends.postgres import Postgres, PostgresKeys
from tradeguard.backends.redis import RedisKeys
from tradeguard.config import SAMPLE, Settings, explain, json_schema, load_settings
from tradeguard.config.environment import VARIABLES
from tradeguard.config.rules import make_policy, make_rows
from tradeguard.config.sections import Quota
from tradeguard.config.settings import KEYS, SECTIONS, parse
from tradeguard.core.cors import Cors
from tradeguard.core.principal import SCOPES
from tradeguard.core.proxy import Proxies
from tradeguard.core.rate import Rate
from tradeguard.keys.cache import CachedKeys
from tradeguard.signing.rows import BINANCE, TG1

SECRET = "hunter2-hunter2-hunter2-hunter2-hunter2-hunt"
ROOT = Path(__file__).parents[2]
REFUSED = (
    "signature: dialect binance does not sign method, path: whoever holds one signed request can change them; if "
    'the venue\'s clients leave you no choice, say accept = ["binance"]'
)
NO_REFERENCES = [
    SECRET, f"file:{SECRET}", f"key:{SECRET}", f"env:{SECRET}", f"systemd:{SECRET}/", f"env:{SECRET}\n", "",
    "env:" + "A" * 43, "systemd:" + "A" * 43, "File:/x", "file:/", "mount:x", "env:", "systemd:", "env:A B", "file:/\0",
]  # fmt: skip


def faults(home: Home, environ: dict[str, str] | None = None) -> list[str]:
    """The lines of the one error, without its head."""
    with pytest.raises(ConfigError) as error:
        load_settings(home.path, environ or {})
    head, *lines = str(error.value).split("\n")
    assert head == f"{home.path}: {len(lines)} fault{'s' if len(lines) > 1 else ''}"
    assert error.value.__cause__ is None
    return [line.removeprefix("  ") for line in lines]


def test_the_least_file_gives_every_default(home: Home) -> None:
    loaded = load_settings(home.path, {})
    assert make_policy(loaded.settings) == Policy()
    assert make_rows(loaded.settings) == (TG1,)
    assert (loaded.data, loaded.journal) == (home.data, home.data / "audit.jsonl")
    assert {key for key, origin in loaded.origins.items() if origin == "file"} == {
        "data.directory",
        "master_key.source",
        "network.topology",
    }
    assert set(loaded.origins) == set(KEYS)


def test_the_defaults_are_those_of_the_parts() -> None:
    default = parse({"master_key": {"source": "env:KEY"}, "network": {"topology": "direct"}})[0]
    assert set(SECTIONS["policy"]) == {field.name for field in fields(Policy)} - {"roles", "proxies", "cors"}
    assert set(SECTIONS["cors"]) == {field.name for field in fields(Cors) if field.init}
    assert make_policy(default) == Policy()
    cache, memory = signature(CachedKeys).parameters, signature(Memory).parameters
    assert default.keys.cache_size == cache["size"].default
    assert int(default.keys.poll_seconds * 1e9) == cache["poll"].default
    assert int(default.keys.stale_seconds * 1e9) == cache["stale_after"].default
    for name in ("capacity", "per_key", "meters"):
        assert getattr(default.state, name) == memory[name].default
    table = signature(RedisKeys.__mro__[1]).parameters
    assert default.state.deadline_seconds == signature(Postgres).parameters["deadline"].default
    assert default.keys.deadline_seconds == signature(PostgresKeys).parameters["deadline"].default
    assert default.keys.deadline_seconds == table["deadline"].default
    rate = signature(Rate).parameters
    for name, field in Quota.model_fields.items():
        if name != "rate":
            given, own = field.default, rate[name].default
            assert (frozenset(given) if name == "lanes" else given) == own, name


def test_everything_can_be_said(home: Home) -> None:
    home.write("""
        [state]
        backend = "memory"
        capacity = 20
        per_key = 10
        [keys]
        cache_size = 5
        poll_seconds = 1
        stale_seconds = 2.5
        [journal]
        path = "logs/audit.jsonl"
        sync = true
        [signature]
        dialects = ["binance", "tg1"]
        accept = ["binance"]
        [policy]
        scopes = ["orders:write:algo"]
        tiers = ["gold"]
        body_bytes = 10
        body_seconds = 1.5
        [roles]
        algo = ["orders:write:algo"]
        [operations]
        "POST /v1/algo" = {scopes = ["orders:write:algo"], lane = "order", costs = {units = 2}}
        "GET /v1/orders" = "orders:read"
        "GET /v1/balances" = ["orders:read", "balances:read"]
        """)
    loaded = load_settings(home.path, {})
    policy = make_policy(loaded.settings)
    assert (policy.body_bytes, policy.body_seconds, policy.tiers) == (10, 1.5, {"gold"})
    assert policy.roles == {"algo": {"orders:write:algo"}}
    assert make_rows(loaded.settings) == (BINANCE, TG1)
    assert loaded.journal == home.folder / "logs" / "audit.jsonl"
    assert (loaded.settings.keys.poll_seconds, loaded.settings.state.backend) == (1.0, "memory")


def test_files_are_found_beside_the_configuration_wherever_the_process_runs(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home.folder)
    loaded = load_settings("tradeguard.toml", {})
    monkeypatch.chdir("/")
    assert (loaded.path, loaded.data) == (home.path, home.data)


def test_all_faults_come_at_once(home: Home) -> None:
    home.write_all("""
        poll_seconds = 3
        [polcy]
        x = 1
        [data]
        directory = 5
        [keys]
        pol_seconds = 1
        poll_seconds = "x"
        [state]
        backend = "mysql"
        [signature]
        dialects = ["tg2", "binance"]
        accept = ["bianance"]
        [roles]
        bad = ["nope"]
        withdraw = ["funds:withdraw"]
        text = "orders:read"
        [operations]
        "GET x" = "orders:read"
        "GET /x" = {lane = "fast"}
        "GET /y" = "orders:raed"
        "GET /{a}/b" = "orders:read"
        "GET /a/{b}" = "orders:write"
        """)
    environ = {"TRADEGUARD_JOURNAL__SYNC": "yes", "TRADEGUARD_KEYS_POLL_SECONDS": "1"}
    found = dict(line.split(": ", 1) for line in faults(home, environ))
    assert found == {
        "poll_seconds": "no such key; did you mean keys.poll_seconds?",
        "polcy": "no such key; did you mean policy?",
        "data.directory": "must be a text",
        "master_key.source": found["master_key.source"],
        "network.topology": found["network.topology"],
        "keys.pol_seconds": "no such key; did you mean keys.poll_seconds?",
        "keys.poll_seconds": "must be a number",
        "state.backend": "must be 'sqlite', 'memory', 'redis' or 'postgres'",
        "signature.dialects[0]": "no dialect is called 'tg2'; did you mean tg1?",
        "signature.accept[0]": "'bianance' is none of signature.dialects; did you mean binance?",
        "roles.text": "must be a list",
        "journal.sync": "must be true or false (env TRADEGUARD_JOURNAL__SYNC)",
        "TRADEGUARD_KEYS_POLL_SECONDS": "this variable sets no key; did you mean TRADEGUARD_KEYS__POLL_SECONDS?",
        'operations."GET x"': "write it as METHOD /path, for example 'POST /v1/orders'",
        'operations."GET /x"': "unknown lane 'fast'; use one of admin, cancel, funds, order, public, read",
        'operations."GET /y"': "unknown scope 'orders:raed'; did you mean orders:read, or is it one to declare in "
        "policy.scopes?",
        'operations."GET /a/{b}"': "operations 'GET /{a}/b' and 'GET /a/{b}' match the same paths and ask for "
        "different things",
    }
    assert found["master_key.source"].startswith('missing; say where the master key is: "file:/path"')
    assert found["network.topology"].startswith('missing; say what stands in front: "direct"')


def test_the_rules_between_keys_are_told_by_key(home: Home) -> None:
    home.write("""
        [state]
        capacity = 10
        per_key = 11
        [keys]
        poll_seconds = 30
        stale_seconds = 30
        [signature]
        dialects = ["binance"]
        [policy]
        body_bytes = 100
        unproven_bytes = 99
        [roles]
        a = ["nope"]
        "b c" = ["funds:withdraw"]
        """)
    assert faults(home) == [
        "state.per_key: must not be above state.capacity",
        "keys.stale_seconds: must be above keys.poll_seconds",
        REFUSED,
        "policy: unproven_bytes must hold at least one body of body_bytes",
        f"roles.a: unknown scope 'nope'; there are {', '.join(sorted(SCOPES))}; is it one to declare in policy.scopes?",
        'roles."b c": funds:withdraw is given to keys by name, never by a role',
    ]


def test_each_of_many_rows_that_contradict_others_is_named(home: Home) -> None:
    rows = ['"GET /{a}/b/c" = "orders:read"', '"GET /a/{b}/c" = "orders:write"', '"GET /a/b/{c}" = "balances:read"']
    home.write("\n".join(["[operations]", '"GET /fine" = "orders:read"', *rows]))
    assert [line.partition(":")[0] for line in faults(home)] == [
        'operations."GET /a/{b}/c"',
        'operations."GET /a/b/{c}"',
    ]


def test_of_very_many_such_rows_some_are_named(home: Home) -> None:
    rows = [f'"GET /{{a{place}}}/b" = {{scopes = "orders:read", costs = {{x = {place}}}}}' for place in range(30)]
    home.write("\n".join(["[operations]", *rows]))
    assert len(faults(home)) == 20


def test_a_policy_that_cannot_be_read_does_not_make_scopes_unknown(home: Home) -> None:
    home.write("""
        [policy]
        scopes = ["mine"]
        tiers = 5
        [roles]
        a = ["mine"]
        [operations]
        "GET /x" = "mine"
        """)
    assert faults(home) == ["policy.tiers: must be a list"]


WRONG: list[Any] = [5, 1.5, True, "text", [1], {"a": 1}, "1979-05-27T07:32:00Z"]


@pytest.mark.parametrize("value", WRONG, ids=str)
@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_type_is_told_in_our_own_words(home: Home, key: str, value: Any) -> None:
    section, _, name = key.partition(".")
    toml = value if str(value).endswith("Z") else json.dumps(value).replace('"a": 1', "a = 1")
    needed: dict[str, dict[str, Any]] = {"master_key": {"source": "env:X"}, "network": {"topology": "direct"}}
    tables = {**needed, section: {**needed.get(section, {}), name: value}}
    rest = {place: table for place, table in needed.items() if place != section}
    lines = [f'[{place}]\n{key} = "{text}"\n' for place, table in rest.items() for key, text in table.items()]
    lines += [f"[{section}]\n", *(f'{key} = "{text}"\n' for key, text in tables[section].items() if key != name)]
    home.write_all(*lines, f"{name} = {toml}\n")
    settings, found, _ = parse(tables)
    assert settings.data.directory
    for fault in found:
        assert fault.key.startswith(key)
        assert fault.text.startswith(("must ", "is no reference", "missing")), fault
    kinds = {str: "text", int: "whole number", float: "number", bool: "true or false", tuple: "list"}
    default = getattr(getattr(Settings.model_validate(needed), section), name)
    if type(value) is not type(default) and not (isinstance(default, float) and type(value) is int) and found:
        said = (kinds[type(default)], "'sqlite'", "'direct'", "no reference", "a to z", "''", "text")
        assert any(word in found[0].text for word in said), found


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("value", [5, "text", [1], True])
def test_a_section_that_is_no_table_is_told(home: Home, section: str, value: Any) -> None:
    home.write_all(f"{section} = {json.dumps(value)}\n")
    environ = {name: "1" for name, key in VARIABLES.items() if key.startswith(f"{section}.")}
    assert f"{section}: must be a table" in faults(home, environ)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[state]\ncapacity = 9", "state.capacity: must be 10 or more"),
        ("[state]\ncapacity = 1000000001", "state.capacity: must be 1000000000 or less"),
        ("[state]\ncapacity = 10.0", "state.capacity: must be a whole number"),
        ("[keys]\npoll_seconds = 0", "keys.poll_seconds: must be 0.001 or more"),
        ("[keys]\npoll_seconds = nan", "keys.poll_seconds: must be a finite number"),
        ("[keys]\nstale_seconds = inf", "keys.stale_seconds: must be a finite number"),
        ("[policy]\nbody_bytes = 0", "policy.body_bytes: must be above 0"),
        ("[policy]\nbody_bytes = -1", "policy.body_bytes: must be above 0"),
        ("[policy]\nscopes = ['a', 1]", "policy.scopes[1]: must be a text"),
        ("[signature]\ndialects = []", "signature.dialects: must not be empty"),
        ("[signature]\ndialects = ['tg1', 'tg1']", "signature: Signature: dialects lists at least one row, and none"),
        ("[journal]\npath = 'a\\u0000'".replace("'", '"'), "journal.path: holds a character that no path has"),
        ("[operations]\n'GET /x' = 5", 'operations."GET /x": scopes is a name or a list of names, not 5'),
        ("[operations]\n'GET /x' = 1979-05-27", 'operations."GET /x": scopes is a name or a list'),
        ("[operations]\n'GET /x' = [['a']]", 'operations."GET /x": scopes is a name or a list of names'),
        ("[operations]\n'GET /x' = {scope = 'a'}", "operations.\"GET /x\": unknown key 'scope'"),
        ("[operations]\n'GET /x' = {scopes = 'a', costs = 5}", 'operations."GET /x": costs are whole numbers'),
        ("[operations]\n'GET /x' = {scopes = 'a', assurance = 0}", 'operations."GET /x": assurance is a whole number'),
        ("[operations]\n'GET /**' = {lane = 'public'}", 'operations."GET /**": lane public needs exact paths'),
        ("[operations]\n'TRACE /x' = 'a'", 'operations."TRACE /x": TRACE never passes'),
        ("[roles]\na = [5]", "roles.a[0]: must be a text"),
        ("['a\\nb'.c]\nd = 1".replace("'", '"'), '"a\\nb": no such key'),
    ],
)
def test_what_is_out_of_place_is_told_with_its_key(home: Home, text: str, says: str) -> None:
    home.write(text)
    assert [line for line in faults(home) if line.startswith(says)] != []


def test_a_data_directory_is_named(home: Home) -> None:
    home.write_all(NETWORK, '[data]\ndirectory = ""\n[master_key]\nsource = "env:X"\n')
    assert faults(home) == ["data.directory: must not be empty"]


@pytest.mark.parametrize("value", NO_REFERENCES)
def test_a_master_key_in_the_place_of_a_reference_is_refused_and_never_printed(home: Home, value: str) -> None:
    home.write_all(NETWORK, f"[master_key]\nsource = {json.dumps(value)}\n")
    [line] = faults(home)
    assert line.startswith("master_key.source: ")
    assert "hunter2" not in line
    assert "AAAA" not in line


@pytest.mark.parametrize("source", ["file:/a b", "mount:/run/secrets/key", "env:KEY_2", "systemd:master.key"])
def test_a_reference_is_taken_and_not_followed(home: Home, source: str) -> None:
    home.write_all(NETWORK, f'[master_key]\nsource = "{source}"\n')
    assert load_settings(home.path, {}).settings.master_key.source == source


@pytest.mark.parametrize(
    "text",
    [
        f'[master_key]\nsource = ["{SECRET}"]\n',
        f'[master_key]\nsource = {{key = "{SECRET}"}}\n',
        f'[master_key]\nkey = "{SECRET}"\nsource = "env:X"\n',
        f'master_key = "{SECRET}"\n',
        f'[data]\ndirectory = ["{SECRET}"]\n',
        f'[state]\nbackend = "{SECRET}"\n',
        f'[keys]\npoll_seconds = "{SECRET}"\n',
        f'[policy]\nscopes = "{SECRET}"\n',
        f'[roles]\na = "{SECRET}"\n',
        f"[master_key]\nsource = {SECRET}\n",
        f'[master_key]\nsource = "{SECRET}\n',
    ],
)
def test_no_value_is_printed_where_it_does_not_belong(home: Home, text: str) -> None:
    home.write_all(text)
    with pytest.raises(ConfigError) as error:
        load_settings(home.path, {"TRADEGUARD_MASTER_KEY": SECRET, "TRADEGUARD_STATE__CAPACITY": SECRET})
    assert SECRET not in str(error.value)
    assert SECRET not in repr(error.value.__cause__)


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("TRADEGUARD_STATE__CAPACITY", "200_000", "state.capacity", 200_000),
        ("TRADEGUARD_KEYS__POLL_SECONDS", "0.5", "keys.poll_seconds", 0.5),
        ("TRADEGUARD_KEYS__STALE_SECONDS", "60", "keys.stale_seconds", 60.0),
        ("TRADEGUARD_JOURNAL__SYNC", "true", "journal.sync", True),
        ("TRADEGUARD_STATE__BACKEND", "memory", "state.backend", "memory"),
        ("TRADEGUARD_STATE__BACKEND", '"memory"', "state.backend", "memory"),
        ("TRADEGUARD_POLICY__TIERS", '["gold", "iron"]', "policy.tiers", ("gold", "iron")),
        ("TRADEGUARD_SIGNATURE__ACCEPT", "[]", "signature.accept", ()),
        ("TRADEGUARD_MASTER_KEY__SOURCE", "systemd:key", "master_key.source", "systemd:key"),
        ("TRADEGUARD_DATA__DIRECTORY", "/var/lib/x", "data.directory", Path("/var/lib/x")),
        ("TRADEGUARD_DATA__DIRECTORY", "1\n[keys]", "data.directory", None),
        ("TRADEGUARD_DATA__DIRECTORY", "{a = 1}", "data.directory", None),
        ("TRADEGUARD_JOURNAL__PATH", "", "journal.path", None),
    ],
)
def test_the_environment_overrides_a_key(home: Home, variable: str, text: str, key: str, value: Any) -> None:
    loaded = load_settings(
        home.path, {variable: text, "OTHER": "x", "TRADEGUARD_ACTOR": "me", "TRADEGUARD_SECRET": "s"}
    )
    section, _, name = key.partition(".")
    expected = loaded.value(key) if value is None else value
    assert loaded.value(key) == expected
    assert loaded.origins[key] == f"env {variable}"
    if value is None:  # taken as the text that it is
        assert getattr(getattr(loaded.settings, section), name) == text


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        (
            "TRADEGUARD_STATE__CAPACITY",
            "many",
            "state.capacity: must be a whole number (env TRADEGUARD_STATE__CAPACITY)",
        ),
        ("TRADEGUARD_STATE__CAPACITY", "1" * 5_000, "state.capacity: must be a whole number"),
        ("TRADEGUARD_STATE__CAPACITY", "[" * 100_000, "state.capacity: must be a whole number"),
        ("TRADEGUARD_POLICY__TIERS", "gold", "policy.tiers: must be a list (env TRADEGUARD_POLICY__TIERS)"),
        ("TRADEGUARD_POLICY__TIERS", "[1]", "policy.tiers[0]: must be a text (env TRADEGUARD_POLICY__TIERS)"),
        ("TRADEGUARD_DATA__DIRECTORY", "5", "data.directory: must be a text (env TRADEGUARD_DATA__DIRECTORY)"),
        ("TRADEGUARD_DATA__DIRECTROY", "x", "TRADEGUARD_DATA__DIRECTROY: this variable sets no key; did you mean "),
        *(
            (name, "[]", f"{name}: dialects, roles, quotas, tiers, overrides and operations stand in the file only")
            for name in ("TRADEGUARD_ROLES__TRADER", "TRADEGUARD_QUOTAS__ORDERS", "TRADEGUARD_TIERS__GOLD")
        ),
        ("TRADEGUARD_MASTER_KEY", SECRET, "TRADEGUARD_MASTER_KEY: this variable sets no key"),
        ("TRADEGUARD_x\ny", "1", '"TRADEGUARD_x\\ny": this variable sets no key'),
        ("TRADEGUARD_", "1", "TRADEGUARD_: this variable sets no key"),
    ],
)
def test_a_wrong_override_is_told_with_its_variable(home: Home, variable: str, text: str, says: str) -> None:
    [line] = faults(home, {variable: text})
    assert line.startswith(says)


def test_the_variable_of_the_master_key_is_no_stray(home: Home) -> None:
    home.write_all(NETWORK, '[master_key]\nsource = "env:TRADEGUARD_MASTER_KEY"\n')
    assert load_settings(home.path, {"TRADEGUARD_MASTER_KEY": SECRET}).settings.master_key.source


def test_what_kubernetes_puts_into_every_pod_is_no_stray(home: Home) -> None:
    links = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTPS", "PORT", "PORT_443_TCP", "PORT_443_TCP_ADDR"]
    assert load_settings(home.path, {f"TRADEGUARD_{name}": "tcp://10.0.0.1:443" for name in links})


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_overrides_its_key(home: Home, variable: str) -> None:
    key = VARIABLES[variable]
    value = load_settings(home.path, {}).value(key)
    loaded = load_settings(home.path, {variable: json.dumps(value, default=str)})
    assert loaded.value(key) == value
    assert loaded.origins[key] == f"env {variable}"


def test_what_holds_is_explained_with_its_origin(home: Home) -> None:
    home.write("[roles]\nmine = ['orders:read']\n[operations]\n'GET /x' = {scopes = 'orders:read'}\n")
    rows = {
        row.key: (row.value, row.origin)
        for row in explain(load_settings(home.path, {"TRADEGUARD_JOURNAL__SYNC": "true"}))
    }
    assert rows["data.directory"] == (str(home.data), "file")
    assert rows["journal.path"] == (str(home.data / "audit.jsonl"), "default")
    assert rows["journal.sync"] == ("true", "env TRADEGUARD_JOURNAL__SYNC")
    assert rows["master_key.source"] == (f'"file:{home.master_key}"', "file")
    assert rows["signature.dialects"] == ('["tg1"]', "default")
    assert rows["roles.mine"] == ('["orders:read"]', "file")
    assert rows['operations."GET /x"'] == ('{"scopes": "orders:read"}', "file")
    assert len(rows) == len(KEYS) + 2


def test_explaining_reads_no_secret(home: Home) -> None:
    home.write_all(NETWORK, '[master_key]\nsource = "env:KEY"\n')
    loaded = load_settings(home.path, {"KEY": SECRET})
    assert SECRET not in repr(explain(loaded)) + repr(loaded)


def test_the_sample_loads_and_gives_every_default(home: Home) -> None:
    home.write_all(SAMPLE)
    loaded = load_settings(home.path, {})
    said = {"data.directory", "master_key.source", "network.topology"}
    assert {key for key, origin in loaded.origins.items() if origin != "default"} == said
    assert loaded.settings.operations
    assert loaded.data == home.data


def test_the_sample_shows_every_key_with_its_default(home: Home) -> None:
    home.write_all(SAMPLE)
    sample = load_settings(home.path, {})
    lines = SAMPLE.splitlines()
    for section, keys in SECTIONS.items():
        assert f"[{section}]" in lines
        for key in keys:
            value = getattr(getattr(sample.settings, section), key)
            line = f"{key} = {json.dumps(value)}"
            assert line in lines or f"# {line}" in lines, line


def test_the_sample_holds_with_all_that_is_commented_out(home: Home) -> None:
    home.write_all(SAMPLE)
    before = load_settings(home.path, {}).settings
    open_lines = [
        line.removeprefix("# ") if " = " in line and line[:2] == "# " else line for line in SAMPLE.splitlines()
    ]
    said = [line for line in open_lines if not line.startswith("TRADEGUARD_")]
    home.write_all("\n".join(said))
    assert load_settings(home.path, {}).settings == before


def test_the_published_schema_is_the_one_of_the_model() -> None:
    published = json.loads((ROOT / "docs" / "tradeguard.schema.json").read_text())
    assert published == json_schema(), "write it anew: json.dumps(tradeguard.config.json_schema(), indent=2)"


def test_the_schema_knows_every_key_and_explains_it() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    for section, keys in SECTIONS.items():
        place = schema["properties"][section]
        names = place.get("$ref") or place.get("allOf", [{}])[0].get("$ref")
        if keys:
            table = schema["$defs"][names.rpartition("/")[2]]
            assert table["additionalProperties"] is False
            assert set(table["properties"]) == set(keys)
            assert all(table["properties"][key]["description"] for key in keys)


def test_the_page_lists_every_key_with_default_and_meaning() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for section, keys in SECTIONS.items():
        kind: Any = Settings.model_fields[section].annotation
        for key in keys:
            field = kind.model_fields[key]
            default = "" if field.is_required() else f"`{json.dumps(field.default)}`"
            assert f"| `{section}.{key}` | {default} | {field.description} |" in page


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*SECTIONS, *{key.partition(".")[2] for key in KEYS}, "GET /x"]) | st.text(max_size=8)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3) | VALUES, max_size=5))
def test_whatever_a_file_says_is_settings_or_faults(tables: dict[str, Any]) -> None:
    from tradeguard.config.rules import find_faults

    settings, found, wrong = parse(tables)
    assert bool(found) == bool(wrong)
    assert all(fault.key and "\n" not in fault.key + fault.text for fault in [*found, *find_faults(settings, wrong)])


def test_the_environment_of_the_process_is_the_default(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TRADEGUARD_STATE__PER_KEY", "77")
    assert load_settings(home.path).settings.state.per_key == 77


def test_without_pydantic_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util
    import sys

    from tradeguard.config import sections

    monkeypatch.setitem(sys.modules, "pydantic", None)
    spec = importlib.util.spec_from_file_location("again", sections.__file__)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ConfigError, match=r'pip install "tradeguard\[config\]"'):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


PROXIED = """
    [network]
    topology = "proxied"
    header = "forwarded"
    trusted = ["10.0.0.0/8", "unix"]
    [policy]
    hsts = "max-age=60; includeSubDomains"
    body_bytes_per_second = 0
    [cors]
    origins = ["https://trade.example"]
    headers = ["tg-key"]
    expose = ["x-own"]
    max_age = 5
    credentials = true
    """


def test_proxies_and_cors_reach_the_policy(home: Home) -> None:
    home.write_all('[master_key]\nsource = "env:KEY"\n', PROXIED)
    policy = make_policy(load_settings(home.path, {}).settings)
    assert policy.proxies == Proxies(header="forwarded", trusted=["10.0.0.0/8", "unix"])
    assert policy.cors == Cors(
        origins=["https://trade.example"], headers=["tg-key"], expose=["x-own"], max_age=5, credentials=True
    )
    assert (policy.hsts, policy.body_bytes_per_second) == ("max-age=60; includeSubDomains", 0)


def test_the_topology_may_come_from_outside(home: Home) -> None:
    home.write_all('[master_key]\nsource = "env:KEY"\n')
    environ = {"TRADEGUARD_NETWORK__TOPOLOGY": "proxied", "TRADEGUARD_NETWORK__HEADER": "x-forwarded-for"}
    environ["TRADEGUARD_NETWORK__TRUSTED"] = '["10.0.0.0/8"]'
    assert make_policy(load_settings(home.path, environ).settings).proxies is not None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "network.topology: missing; say what stands in front"),
        ('[network]\nheader = "forwarded"', "network.topology: missing; say what stands in front"),
        ('[network]\ntopology = "nat"', "network.topology: must be 'direct' or 'proxied'"),
        (
            '[network]\ntopology = "direct"\nheader = "forwarded"',
            'network: header and trusted belong to topology = "pro',
        ),
        ('[network]\ntopology = "direct"\ntrusted = ["unix"]', 'network: header and trusted belong to topology = "pro'),
        ('[network]\ntopology = "proxied"\ntrusted = ["unix"]', 'network: "proxied" needs header'),
        ('[network]\ntopology = "proxied"\nheader = "forwarded"', "network: proxies: trusted is empty"),
        ('[network]\ntopology = "proxied"\nheader = "x-real-ip"', "network.header: must be '', 'x-forwarded-for' or"),
        (f'{NETWORK}[cors]\nheaders = ["tg-key"]', "cors: without origins nothing is allowed"),
        (f'{NETWORK}[cors]\norigins = ["*"]\ncredentials = true', 'cors: "*" stands alone'),
        (f'{NETWORK}[policy]\nhsts = "on"', "policy: hsts is like"),
    ],
)
def test_what_contradicts_itself_in_network_and_cors_is_told(home: Home, text: str, says: str) -> None:
    home.write_all('[master_key]\nsource = "env:KEY"\n', text)
    [line] = faults(home)
    assert line.startswith(says)


def test_the_variable_of_development_mode_is_no_stray(home: Home) -> None:
    assert load_settings(home.path, {"TRADEGUARD_DEVELOPMENT": "1"})
