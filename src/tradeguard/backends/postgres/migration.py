"""Migration: numbered steps from one schema of the database to the next, the functions, and who may call them.

Nothing here happens by itself: an operator calls `migrate` with a role that may make a schema. The processes of the
venue connect with a role that may call functions and nothing else.
"""

import re
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from tradeguard.backends.postgres.wire import psycopg, sql
from tradeguard.core.errors import ConfigError

_HEAD = re.compile(r"-- oldest: (\d+)\n")
_LOCK: Final = 7_450_000_000_000
_LEAST: Final = 130_000
FUNCTIONS: Final = {
    "state": ("commit", "refund", "set", "look", "size"),
    "keys": (
        "key_get",
        "key_put",
        "key_page",
        "key_holder",
        "key_changes",
        "key_touch",
        "key_uses",
        "key_keep",
    ),
}
"""What may be called, by what a role is for."""


class Migration(NamedTuple):
    """The step to schema `number`. A library that knows `oldest` or later may go on using the database after it."""

    number: int
    oldest: int
    script: str


def load() -> tuple[Migration, ...]:
    """Return the steps in order; they stand beside this file as `migrations/<number>.sql`."""
    found: list[Migration] = []
    for entry in _scripts("migrations"):
        script = entry.read_text(encoding="utf-8")
        head = _HEAD.match(script)
        assert head is not None, entry.name
        found.append(Migration(int(entry.name.removesuffix(".sql")), int(head[1]), script))
    return tuple(found)


def migrate(conninfo: str, *, schema: str = "tradeguard", state: Sequence[str] = (), keys: Sequence[str] = ()) -> int:
    """Make the schema, or take it to the latest; return its number. Doing it again changes nothing.

    Args:
        conninfo: of a role that may make a schema, and is no superuser: it will own the functions, which run with its
            rights. Past PgBouncer, or through it.
        schema: where everything is put.
        state: roles that may use it as shared memory: USAGE of the schema, EXECUTE of its functions.
        keys: roles that may use it as a store of keys.

    Raises:
        ConfigError: it cannot be done; the text says why. Nothing was changed.
    """
    try:
        with psycopg.connect(conninfo, prepare_threshold=None) as connection:
            return _migrate(connection, schema, {"state": state, "keys": keys})
    except psycopg.Error as error:
        raise ConfigError(f"PostgreSQL: schema {schema} was not migrated: {error}") from error


def _migrate(connection: psycopg.Connection, schema: str, roles: dict[str, Sequence[str]]) -> int:
    if connection.info.server_version < _LEAST:
        raise ConfigError("PostgreSQL 13 or newer is needed; this server is older")
    run, name = connection.execute, sql.Identifier(schema)
    run("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    run(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
    _check_owner(connection, schema)
    run(sql.SQL("SET LOCAL search_path = {}, pg_temp").format(name))
    run("CREATE TABLE IF NOT EXISTS migration (number integer PRIMARY KEY, oldest integer NOT NULL, at timestamptz)")
    row = run("SELECT coalesce(max(number), 0), coalesce(max(oldest), 0) FROM migration").fetchone()
    assert row is not None
    current, steps = int(row[0]), load()
    if current > steps[-1].number:
        raise ConfigError(
            f"PostgreSQL: schema {schema} was made by a newer tradeguard (schema {current}, this one knows "
            f"{steps[-1].number}); upgrade this one"
        )
    for step in steps:
        if step.number > current:
            run(step.script.encode())
            run("INSERT INTO migration VALUES (%s, %s, now())", (step.number, step.oldest))
    for entry in _scripts("functions"):
        run(entry.read_bytes())
    _grant(connection, name, schema, roles)
    return steps[-1].number


def _check_owner(connection: psycopg.Connection, schema: str) -> None:
    """Refuse a schema of somebody else: he could put functions of his own under the names of ours."""
    query = "SELECT pg_get_userbyid(nspowner), current_user FROM pg_namespace WHERE nspname = %s"
    row = connection.execute(query, (schema,)).fetchone()
    owner, ours = ("nobody", "") if row is None else row
    if owner != ours:
        raise ConfigError(
            f"PostgreSQL: schema {schema} belongs to {owner}; connect as that role, or name another schema"
        )


def _grant(connection: psycopg.Connection, name: sql.Identifier, schema: str, roles: dict[str, Sequence[str]]) -> None:
    """Let the roles call what they need; take the rest from everybody: a new function may be called by all."""
    run = connection.execute
    run(sql.SQL("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {} FROM PUBLIC").format(name))
    rows = run(
        "SELECT p.proname, p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "WHERE n.nspname = %s",
        (schema,),
    ).fetchall()
    signatures = {str(row[0]): str(row[1]) for row in rows}
    for kind, names in roles.items():
        for role in map(sql.Identifier, names):
            run(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(name, role))
            for function in FUNCTIONS[kind]:
                call = sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}")
                run(call.format(sql.SQL(signatures[function]), role))  # pyright: ignore[reportArgumentType]


def _scripts(folder: str) -> list[Traversable]:
    entries = resources.files("tradeguard.backends.postgres").joinpath(folder).iterdir()
    return sorted((entry for entry in entries if entry.name.endswith(".sql")), key=lambda entry: entry.name)
