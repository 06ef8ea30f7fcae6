"""The mix: what customers of a venue in the middle of its roll-out send, each kind with what is to become of it.

A kind says how the application answered before there was a guard, how it answers behind it, and why: a denial code, or
how the request came in (`vouched`, `unvouched`, `proved`, `public`). Where the two answers differ, that is the
explanation; where a kind is not in this table, or comes out otherwise, nobody has one.
"""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any, NamedTuple

from tradeguard import TG1, Hmac, KeyRecord, MemoryKeys, Outgoing, Signer

HOST, OFFICE, SECOND = "venue.example", "127.9.0.0/16", 1_000_000_000
JSON = b"application/json"
# name: password, account, scopes, networks
PASSWORDS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "ann": ("old password of ann", "acme", ("orders:*", "balances:read", "funds:withdraw", "history:export"), ()),
    "bob": ("old password of bob", "bobco", ("orders:read",), ()),
    "carl": ("old password of carl", "office", ("orders:read",), (OFFICE,)),
}
TRADER = b"the trader's secret, long enough."
SIGNERS = {
    "trader": Signer(TG1, "trader", TRADER),  # of acme, as ann
    "reader": Signer(TG1, "reader", b"the reader's secret, long enough"),
    "left": Signer(TG1, "left", b"the leaver's secret, long enough"),
    "forger": Signer(TG1, "trader", b"not the secret of the trader's key"),
    "ghost": Signer(TG1, "ghost", b"a key that was never issued here"),
}


def make_keys() -> MemoryKeys:
    """The keys behind the signers; `left` is revoked, `ghost` is none."""
    every = ("orders:*", "balances:read", "funds:withdraw", "history:export")
    return MemoryKeys(
        [
            KeyRecord(id="trader", dialect="tg1", material=Hmac(TRADER), account="acme", scopes=every),
            KeyRecord(
                id="reader", dialect="tg1", material=Hmac(b"the reader's secret, long enough"), scopes=["orders:read"]
            ),
            KeyRecord(
                id="left",
                dialect="tg1",
                material=Hmac(b"the leaver's secret, long enough"),
                scopes=every,
                state="revoked",
            ),
        ]
    )


class Sent(NamedTuple):
    """One request of the mix, byte for byte."""

    kind: str
    at: int
    source: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: str


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of request: how it is made, how often, and what becomes of it.

    `late` is how many seconds ago it was signed. `after_signing` is the body that is sent in place of the signed one.
    `twice` is sent again as it is, and `again` says what becomes of that. `place` is the source's second byte.
    """

    name: str
    ask: str
    before: int
    after: int
    why: str
    weight: int = 1
    old: str = ""
    password: str = ""
    by: str = ""
    body: str = ""
    late: int = 0
    after_signing: str = ""
    only: tuple[str, ...] = ()
    more: tuple[tuple[str, str], ...] = ()
    place: int = 0
    again: str = ""

    @property
    def differs(self) -> bool:
        """Whether the customer sees another status."""
        return self.before != self.after


def kind(name: str, ask: str, becomes: str, why: str, **how: Any) -> Kind:
    """Write a kind as a line; `becomes` is "200 -> 401", or the one status that it keeps."""
    before, _, after = becomes.partition(" -> ")
    return Kind(name=name, ask=ask, before=int(before), after=int(after or before), why=why, **how)


ORDER = '{"id": "#", "quantity": 1}'
ANN: dict[str, Any] = {"old": "ann"}
BOTH: dict[str, Any] = {"old": "ann", "by": "trader"}
BY: dict[str, Any] = {"by": "trader"}
UNCLAIMED = "proof.unclaimed"
KINDS = [
    # what stays as it was
    kind("password: reads", "GET /orders", "200", "vouched", weight=25, **ANN),
    kind("password: reads one order", "GET /orders/#", "200", "vouched", weight=10, **ANN),
    kind("password: places an order", "POST /orders", "201", "vouched", weight=12, body=ORDER, **ANN),
    kind("password: cancels", "DELETE /orders/#", "200", "vouched", weight=8, **ANN),
    kind("password: reads from the office", "GET /orders", "200", "vouched", weight=3, old="carl", place=9),
    kind("password: a wrong one", "GET /orders", "401", "unvouched", weight=3, old="ann", password="guessed"),
    kind("password: of nobody", "GET /orders", "401", "unvouched", old="zoe", password="x"),
    kind("password: beside what the handler refuses", "POST /orders", "422", "vouched", body='{"id": 1}', **ANN),
    kind("password: HEAD, which the application has not", "HEAD /orders", "405", "unvouched", **ANN),
    kind("nothing at all", "GET /orders", "401", "unvouched", weight=2),
    kind("public: reads", "GET /markets", "200", "public", weight=10),
    kind("public: with a password", "GET /markets", "200", "public", weight=3, **ANN),
    kind("public: with the id of a key alone", "GET /markets", "200", "public", only=("tg-key",), **BY),
    kind("both: reads", "GET /orders", "200", "proved", weight=8, **BOTH),
    kind("both: places an order", "POST /orders", "201", "proved", weight=5, body=ORDER, **BOTH),
    kind("both: on a moved operation", "GET /balances", "200", "proved", weight=3, **BOTH),
    # who signs gets in
    kind("signed: reads", "GET /orders", "401 -> 200", "proved", weight=20, **BY),
    kind("signed: reads by a reader's key", "GET /orders/#", "401 -> 200", "proved", weight=4, by="reader"),
    kind("signed: places an order", "POST /orders", "401 -> 201", "proved", weight=8, body=ORDER, **BY),
    kind("signed: cancels", "DELETE /orders/#", "401 -> 200", "proved", weight=4, **BY),
    kind("signed: on a moved operation", "GET /balances", "401 -> 200", "proved", weight=4, **BY),
    kind("signed: withdraws", "POST /withdrawals", "401 -> 201", "proved", weight=2, **BY),
    kind("signed: after the last day", "GET /history", "401 -> 200", "proved", weight=2, **BY),
    # the old way has ended, or never was for this
    kind("password: on a moved operation", "GET /balances", "200 -> 401", UNCLAIMED, weight=4, **ANN),
    kind("password: withdraws, which has moved", "POST /withdrawals", "201 -> 401", UNCLAIMED, weight=2, **ANN),
    kind("password: after the last day", "GET /history", "200 -> 401", UNCLAIMED, weight=3, **ANN),
    kind("password: an unknown route", "GET /nowhere", "404 -> 401", UNCLAIMED, **ANN),
    kind("password: a wrong method", "PUT /orders", "405 -> 401", UNCLAIMED, **ANN),
    kind("password: a preflight", "OPTIONS /orders", "405 -> 401", UNCLAIMED),
    kind("password: a slash too many at the end", "GET /orders/", "307 -> 401", UNCLAIMED, **ANN),
    kind("signed: a wrong method", "PUT /orders", "405 -> 404", "guard.unmapped", **BY),
    kind("signed: an unknown route", "GET /nowhere", "404", "guard.unmapped", **BY),
    # whom the host vouches for is judged like everybody
    kind("password: orders without the scope", "POST /orders", "201 -> 403", "scope.missing", old="bob", body=ORDER),
    kind("password: cancels without the scope", "DELETE /orders/#", "200 -> 403", "scope.missing", old="bob"),
    kind("password: from outside its networks", "GET /orders", "200 -> 403", "network.outside", old="carl"),
    kind("signed: orders without the scope", "POST /orders", "401 -> 403", "scope.missing", by="reader", body=ORDER),
    # a broken credential of ours never falls back to the password beside it
    kind("both: a wrong signature", "GET /orders", "200 -> 401", "signature.wrong", old="ann", by="forger"),
    kind("both: an order by a wrong signature", "POST /orders", "201 -> 401", "signature.wrong", old="ann",
         by="forger", body=ORDER),
    kind("both: another body than was signed", "POST /orders", "201 -> 401", "signature.wrong", body=ORDER,
         after_signing='{"id": "x", "quantity": 9}', **BOTH),
    kind("both: an unknown key", "GET /orders", "200 -> 401", "signature.unknown", old="ann", by="ghost"),
    kind("both: a revoked key", "GET /orders", "200 -> 401", "signature.unusable", old="ann", by="left"),
    kind("both: signed an hour ago", "GET /orders", "200 -> 401", "freshness.stale", late=3_600, **BOTH),
    kind("both: signed ahead", "GET /orders", "200 -> 401", "freshness.early", late=-3_600, **BOTH),
    kind("both: the id of the key alone", "GET /orders", "200 -> 401", "signature.missing", only=("tg-key",), **BOTH),
    kind("both: the signature without its key", "GET /orders", "200 -> 401", "place.field",
         only=("tg-signature",), **BOTH),
    kind("both: without the nonce", "GET /orders", "200 -> 401", "place.field",
         only=("tg-key", "tg-time", "tg-signature"), **BOTH),
    kind("both: a second key", "GET /orders", "200 -> 401", "request.repeated", more=(("tg-key", "reader"),), **BOTH),
    kind("both: the wrong scope", "POST /orders", "201 -> 403", "scope.missing", old="ann", by="reader", body=ORDER),
    kind("public: a wrong signature", "GET /markets", "200 -> 401", "signature.wrong", by="forger"),
    # sent again as it was: the first is answered, the second is known
    kind("signed: and sent again", "POST /orders", "401 -> 201", "proved", body=ORDER, again="401 -> 409", weight=2,
         **BY),
    kind("both: and sent again", "POST /orders", "201", "proved", body=ORDER, again="201 -> 409", weight=2, **BOTH),
    # what no operation takes in this form
    kind("password: a letter encoded", "GET /%6Frders", "200 -> 400", "frame.path", **ANN),
    kind("password: a slash too many", "GET //orders", "404 -> 400", "frame.path", **ANN),
    kind("password: a method override", "POST /orders", "201 -> 400", "frame.override", body=ORDER,
         more=(("x-http-method-override", "DELETE"),), **ANN),
]  # fmt: skip
SEEN = "replay.seen"
AGAIN = ", the second time"
# One address that keeps failing, all at one moment: 200 failures are free, of one key from one address 3.
HAMMER = kind("password: on a moved operation, over and over", "GET /balances", "200 -> 401", UNCLAIMED, **ANN)
SHUT = kind("password: there, after 201 failures", "GET /balances", "200 -> 429", "source.address", **ANN)
SHUT_TOO = kind("password: reads, from where 201 requests failed", "GET /orders", "200 -> 429", "source.address", **ANN)
GUESS = kind("signed: guesses", "GET /orders", "401", "signature.wrong", by="forger")
GUESSED = kind("signed: guesses, after 4", "GET /orders", "401 -> 429", "source.pair", by="forger")
BURSTS = [[(HAMMER, 201), (SHUT, 20), (SHUT_TOO, 5)], [(GUESS, 4), (GUESSED, 26)]]


def expected() -> dict[str, tuple[int, int, str]]:
    """What becomes of each kind: status before, status behind the guard, and why."""
    found = {each.name: (each.before, each.after, each.why) for each in KINDS}
    for each in (one for burst in BURSTS for one, _ in burst):
        found[each.name] = (each.before, each.after, each.why)
    for each in KINDS:
        if each.again:
            before, _, after = each.again.partition(" -> ")
            found[each.name + AGAIN] = (int(before), int(after), SEEN)
    return found


class Mix:
    """Writes requests; the same seed writes the same mix.

    Args:
        seed: of the dice.
        bursts: whether one address in some thousand requests keeps failing.
    """

    def __init__(self, seed: int, *, bursts: bool) -> None:
        self._dice, self._ids, self._bursts = Random(seed), count(1), bursts

    def write(self, size: int) -> Iterator[list[Kind]]:
        """Give what is sent from one address: each kind once, then by weight, until there are `size` of them."""
        groups = [[each] for each in KINDS]
        for burst in BURSTS * (1 + size // 10_000) if self._bursts else ():
            groups += [[one for one, times in burst for _ in range(times)]]
        left = max(0, size - sum(1 + bool(one.again) for group in groups for one in group))
        groups += [[each] for each in self._dice.choices(KINDS, [each.weight for each in KINDS], k=left)]
        self._dice.shuffle(groups)
        yield from groups

    def address(self, one: Kind) -> str:
        """Return where it comes from."""
        dice = self._dice
        return f"127.{one.place or dice.randint(10, 250)}.{dice.randint(0, 255)}.{dice.randint(1, 254)}"

    def render(self, one: Kind, at: int, source: str) -> Iterator[Sent]:
        """Write one request, and a second time where it is sent again."""
        method, _, target = one.ask.partition(" ")
        id = f"o{next(self._ids)}"
        target, body = target.replace("#", id), one.body.replace("#", id)
        fields = [("host", HOST), *self._password(one), *self._signature(one, method, target, body, at)]
        body = one.after_signing or body
        if body:
            fields += [("content-type", JSON.decode()), ("content-length", str(len(body)))]
        sent = Sent(one.name, at, source, method, target, (*fields, *one.more), body)
        yield sent
        if one.again:
            yield sent._replace(kind=one.name + AGAIN)

    @staticmethod
    def _password(one: Kind) -> list[tuple[str, str]]:
        if not one.old:
            return []
        pair = f"{one.old}:{one.password or PASSWORDS[one.old][0]}"
        return [("authorization", f"Basic {b64encode(pair.encode()).decode()}")]

    def _signature(self, one: Kind, method: str, target: str, body: str, at: int) -> list[tuple[str, str]]:
        if not one.by:
            return []
        out = Outgoing(method, HOST, target.encode(), JSON if body else b"", body.encode())
        nonce = f"{self._dice.getrandbits(128):032x}".encode()
        signed = SIGNERS[one.by].sign(out, at - one.late * SECOND, nonce)
        fields = [(name.decode(), value.decode()) for name, value in signed.headers]
        return [field for field in fields if not one.only or field[0] in one.only]
