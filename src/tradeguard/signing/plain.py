"""Plain: whether parameters that are signed without separators can be told apart again.

Crypto.com signs {"price":"5","quantity":"1"} as price5quantity1, and so would {"price":"5quantity1"} be, or
{"pric":"e5","quantity":1}. So in the text of all parameters the names of the venue's parameters stand where these
begin, and nowhere else: of all sets of parameters with one text, those that are accepted have the same of them. Nothing
is empty, and texts in a list of several are words in capitals, of which no part is another.

What is not told apart: a parameter with a name of nobody's from the value before it, a number from a text, and which
object of a list a parameter belongs to.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from tradeguard.signing.message import flat

_NAMES: Final = [
    "account_id",
    "address",
    "address_tag",
    "amount",
    "client_oid",
    "client_order_id",
    "client_wid",
    "contingency_type",
    "convert_id",
    "count",
    "currency",
    "depth",
    "end_time",
    "end_ts",
    "exec_inst",
    "fee_instrument_name",
    "from_instrument_name",
    "from_quantity",
    "instrument_name",
    "isolated_margin_amount",
    "isolation_id",
    "journal_type",
    "leverage",
    "limit",
    "list_id",
    "network_id",
    "new_price",
    "new_quantity",
    "notional",
    "order_id",
    "order_list",
    "orig_client_oid",
    "orig_order_id",
    "page",
    "page_size",
    "position_id",
    "price",
    "quantity",
    "ref_price",
    "ref_price_type",
    "side",
    "spot_margin",
    "start_time",
    "start_ts",
    "status",
    "stp_id",
    "stp_inst",
    "stp_scope",
    "sub_account_uuid",
    "time_in_force",
    "timeframe",
    "to_instrument_name",
    "to_quantity",
    "trade_id",
    "trigger_price",
    "trigger_price_type",
    "type",
]
"""Crypto.com Exchange API v1: the parameters of its private methods."""
_KNOWN: Final = frozenset(_NAMES)
_ANY: Final = re.compile("|".join(sorted(_NAMES, key=len, reverse=True)))
_OWN: Final = re.compile("[a-z_]+")
_WORD: Final = re.compile("[A-Z_]+")
_Piece = tuple[str, bool]


def is_plain(parameters: Mapping[str, Any]) -> bool:
    """Tell whether parameters can be told apart again."""
    pieces = list(_spread(parameters)) if parameters else []
    if any(not (_OWN.fullmatch(piece) if named else piece) for piece, named in pieces):
        return False
    begin, at = list[tuple[int, str]](), 0
    for piece, named in pieces:
        begin += [(at, piece)] if named and piece in _KNOWN else []
        at += len(piece)
    found = _ANY.finditer("".join(piece for piece, _ in pieces))
    return [(match.start(), match[0]) for match in found] == begin


def _spread(value: Any) -> Iterator[_Piece]:
    """Give what the text is made of, each with whether it is a name; nothing for something that is empty."""
    if isinstance(value, dict) and value:
        members = cast("dict[str, Any]", value)
        for name in sorted(members):
            yield name, True
            yield from _spread(members[name])
    elif isinstance(value, list) and value:
        items = cast("list[object]", value)
        for item in items:
            ends = len(items) < 2 or isinstance(item, dict) or _WORD.fullmatch(str(item))
            yield from _spread(item) if ends else [("", False)]
    else:
        yield flat(value), False
