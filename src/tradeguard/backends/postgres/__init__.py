"""PostgreSQL: keys and state on a server, durable, shared by the machines of a venue; also through PgBouncer."""

from tradeguard.backends.postgres.keys import BlockingPostgresKeys, PostgresKeys
from tradeguard.backends.postgres.migration import migrate
from tradeguard.backends.postgres.state import BlockingPostgres, Postgres

__all__ = ["BlockingPostgres", "BlockingPostgresKeys", "Postgres", "PostgresKeys", "migrate"]
