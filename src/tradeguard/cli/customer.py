"""`tradeguard docs customer`: the page that tells a venue's customers how to sign."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from tradeguard.adapters.answer import UNCONFIGURED
from tradeguard.cli.desk import load
from tradeguard.cli.options import FILE, with_config, with_json
from tradeguard.cli.screen import Screen, Stop
from tradeguard.config.quotas import make_quotas
from tradeguard.config.rules import bearer_fields, make_policy, make_rows
from tradeguard.core.decision import CATALOGUE
from tradeguard.core.policy import Operations
from tradeguard.signing.bearer import BEARER
from tradeguard.signing.customer import Venue, write_page

_PORTS: Final = {"http": ":80", "https": ":443"}
assert UNCONFIGURED in CATALOGUE  # the adapters' refusals are on the page too


@click.command("customer")
@click.option("--out", type=FILE, help="Where to write; what is there is replaced. [default: stdout]")
@click.option("--url", default="https://api.example", show_default=True, help="Where the API is, prefix included.")
@with_config
@with_json
def docs_customer(screen: Screen, config: str | None, out: str | None, url: str) -> None:
    """Write the page that tells customers how to sign.

    Markdown, made from the configuration: dialects, limits, operations, errors, and an example with its signature.
    """
    scheme, authority, prefix = _read(url)
    settings = load(config).settings
    operations = Operations(settings.operations).all
    bearer = BEARER in settings.signature.dialects
    catalogue = [entry for entry in CATALOGUE.values() if bearer or not entry.code.startswith(f"{BEARER}.")]
    venue = Venue(
        make_rows(settings), make_policy(settings), operations, catalogue, authority, scheme, prefix,
        sent=bearer_fields(settings) if bearer else "", until=settings.bearer.until if bearer else "",
        rates={name: rate for check in make_quotas(settings) for name, rate in check.rates.items()},
        tiers=settings.tiers,
    )  # fmt: skip
    page = write_page(venue)
    if out is None:
        screen.show({"file": None, "page": page}, page.rstrip("\n"))
        return
    _write(Path(out), page)
    screen.show({"file": out, "page": page}, f"written to {out}")


def _read(url: str) -> tuple[str, str, str]:
    with suppress(ValueError):  # an address or a port that is none
        place = urlsplit(url)
        plain = url.isascii() and url.isprintable() and not place.query and not place.fragment and "@" not in url
        if plain and place.scheme in _PORTS and place.hostname and place.port != 0:
            return place.scheme, place.netloc.lower().removesuffix(_PORTS[place.scheme]), place.path.rstrip("/")
    raise click.UsageError("--url is https://host[:port][/prefix]")


def _write(path: Path, page: str) -> None:
    """Replace the page as a whole, so that nobody reads half of one."""
    made = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
        ) as file:
            made = file.name
            file.write(page)
        Path(made).chmod(0o644)
        os.replace(made, path)
    except OSError as error:
        with suppress(OSError):
            Path(made).unlink()
        raise Stop(f"--out {path}: {error.strerror}; nothing was written") from None
