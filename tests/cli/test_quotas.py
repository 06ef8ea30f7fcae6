"""Quotas by the command line: docs/howto/quotas.md as it is typed, and what the page for customers says of them."""

import re
import time
from pathlib import Path

from cli.venue import Venue
from config.home import AHEAD
from support import sign

from tradeguard import Denial
from tradeguard.config import build_guard
from tradeguard.core.decision import Grant
from tradeguard.core.drive import drive
from tradeguard.core.runtime import Threads
from tradeguard.signing.rows import TG1
from tradeguard.signing.signer import Signer

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "quotas.md").read_text()
FIRST, WEIGHT, SERVER = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def take(venue: Venue, *blocks: str) -> None:
    """Put blocks of the page in the place of what `init` has written about the same."""
    head, _, rest = venue.config.read_text().partition("[roles]")
    venue.config.write_text(head.partition("[quotas]")[0] + "".join(blocks))
    assert "[operations]" in rest


def test_the_page_works_as_it_is_typed(venue: Venue) -> None:
    take(venue, FIRST, WEIGHT)
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    commands = [line.split()[1:] for line in lines if line.startswith("tradeguard ")]
    assert commands == [["config", "check"], ["config", "show"]]
    for command in commands:
        result = venue.run(*command)
        assert result.exit_code == 0, result.output
    quoted = re.search(r"`(tiers\.maker\.requests .*?)`", PAGE)
    assert quoted is not None
    assert quoted[1].split() in [line.split() for line in result.stdout.splitlines()]


def test_the_configuration_for_several_machines_is_taken(venue: Venue) -> None:
    text = venue.config.read_text()
    head, rest = text.partition("[state]")[0], text.partition("[journal]")[2]
    venue.config.write_text(f"{head}{SERVER}[journal]{rest}")
    result = venue.run("config", "check", REDIS_URL="redis://127.0.0.1:1/0")
    assert (result.exit_code, "nothing found" in result.stdout) == (0, True), result.output
    missing = venue.run("config", "check")
    assert "state.url: environment variable REDIS_URL is not set; put the URL of the server in it" in missing.stdout


def test_a_key_of_the_tier_that_the_page_names_has_its_rate(venue: Venue) -> None:
    take(venue, FIRST.replace('"200/second;5000000/day"\n\n[roles]', '"10/hour"\n\n[roles]'))
    id, file = venue.issue("--tier", "maker")
    signer = Signer(TG1, id, file.read_text().strip().encode())
    guard = build_guard(venue.config, {})
    guard.bind(Threads())
    time.sleep(max(0.0, (guard.state.since + 1_010_000_000 - AHEAD - time.time_ns()) / 1e9))
    codes = list[str]()
    for _ in range(12):
        now = guard.runtime.now()
        body = {"body": b"{}", "content_type": b"application/json"}
        decision = drive(guard.admit(sign(signer, "POST", b"/v1/orders", at=now + AHEAD, arrived=now, **body)))
        codes.append(decision.code if isinstance(decision, Denial) else "")
    assert codes == [""] * 10 + ["quota.exceeded"] * 2
    now = guard.runtime.now()
    mass = drive(guard.admit(sign(signer, "DELETE", b"/v1/orders", at=now + AHEAD, arrived=now)))
    assert isinstance(mass, Grant)
    assert [charge.quota.key for charge in mass.charges] == [f"masscancels:key:{id}"]
    guard.close()


def test_customers_are_told_their_rates_and_nothing_of_those_that_many_share(venue: Venue) -> None:
    more = '[quotas.total]\nrate = "5000000/second"\nby = "venue"\nlanes = ["order"]\n'
    more += '[quotas.trial]\nrate = "1/second"\nshadow = true\n'
    more += '[quotas.paced]\nrate = "60/minute"\nburst = 9\nby = "account"\nlanes = ["funds"]\ncharge = "success"\n'
    take(venue, FIRST, more)
    page = venue.ask("docs", "customer")["page"]
    rates = page.partition("## Rates\n")[2].partition("\n## ")[0]
    assert "| `requests` | 50 in any 1s and 1000000 in any 1d | key | admin, funds, order, read |" in rates
    assert "| `attempts` | 200 in any 1s | key | admin, funds, order, read; what is refused counts, too |" in rates
    assert "| `strangers` | 20 in any 1s | source | public |" in rates
    assert "| `paced` | 9 at once, refilled by 60 in 1m | account | funds; what fails is given back |" in rates
    assert "| `maker` | `orders` | 200 in any 1s and 5000000 in any 1d |" in rates
    assert "Some limits are shared by many" in rates
    assert "total" not in rates
    assert "trial" not in rates
    assert "| `POST` | `/v1/orders/batch` | `orders:write` | order | 10 of `orders` |" in page
    assert "| `DELETE` | `/v1/orders` | `orders:cancel` | cancel | 0 of `cancels`, 1 of `masscancels` |" in page


def test_without_quotas_customers_are_told_of_no_rates(venue: Venue) -> None:
    take(venue, "[roles]\n" + FIRST.partition("[roles]\n")[2].replace(", costs = { orders = 10 }", "").replace(
        ", costs = { cancels = 0, masscancels = 1 }", ""))  # fmt: skip
    page = venue.ask("docs", "customer")["page"]
    assert "## Rates" not in page
    assert "| method | path | scopes | lane |\n" in page


def test_what_init_writes_limits_orders_and_says_so_to_customers(venue: Venue) -> None:
    assert venue.run("config", "check").exit_code == 0
    assert "| `orders` | 20 in any 1s and 500000 in any 1d | key | order |" in venue.ask("docs", "customer")["page"]
