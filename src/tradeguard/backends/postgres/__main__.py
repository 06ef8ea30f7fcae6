"""Make or migrate the schema: `python -m tradeguard.backends.postgres CONNINFO --state ROLE --keys ROLE`."""

import argparse
import sys

from tradeguard.backends.postgres.migration import migrate
from tradeguard.core.errors import ConfigError


def main() -> int:
    """Read the command line, migrate, say what came of it."""
    options = argparse.ArgumentParser(prog="python -m tradeguard.backends.postgres", description=migrate.__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("conninfo", help="of a role that may make a schema")
    options.add_argument("--schema", default="tradeguard", help="where everything is put")
    options.add_argument("--state", action="append", default=[], metavar="ROLE", help="may use it as shared memory")
    options.add_argument("--keys", action="append", default=[], metavar="ROLE", help="may use it as a store of keys")
    asked = options.parse_args()
    try:
        number = migrate(asked.conninfo, schema=asked.schema, state=asked.state, keys=asked.keys)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"schema {asked.schema} is at {number}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
