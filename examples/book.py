"""The order book of the example exchange: balances and limit orders, in memory; they rest until they are cancelled."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal

MARKETS = {"BTCUSDT": ("BTC", "USDT"), "ETHUSDT": ("ETH", "USDT")}
PURSE = {"BTC": Decimal(100), "ETH": Decimal(1_000), "USDT": Decimal(1_000_000)}  # what every account begins with
LIMIT = 1_000_000_000


class Rejected(Exception):
    """The exchange itself does not take an order."""


@dataclass(slots=True)
class Order:
    """A limit order."""

    id: int
    account: str
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    status: str = "NEW"

    @property
    def reserved(self) -> tuple[str, Decimal]:
        """What the order holds back: asset and amount."""
        base, quote = MARKETS[self.symbol]
        return (quote, self.price * self.quantity) if self.side == "BUY" else (base, self.quantity)


class Book:
    """Orders and balances. `counts` says how many orders were placed and cancelled, and how many withdrawals made."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.counts: Counter[str] = Counter()
        self.free: defaultdict[str, dict[str, Decimal]] = defaultdict(PURSE.copy)

    def place(self, account: str, symbol: str, side: str, price: Decimal, quantity: Decimal) -> Order:
        """Take an order and hold back what it may cost."""
        if symbol not in MARKETS or side not in ("BUY", "SELL"):
            raise Rejected("there is no such market, or the side is not BUY or SELL")
        if not (0 < price < LIMIT and 0 < quantity < LIMIT):
            raise Rejected("price and quantity are above 0 and not astronomical")
        order = Order(len(self.orders) + 1, account, symbol, side, price, quantity)
        self._take(account, *order.reserved)
        self.orders[order.id] = order
        self.counts["placed"] += 1
        return order

    def cancel(self, account: str, id: int) -> Order:
        """Take an order out of the book and give back what it held."""
        order = self.orders.get(id)
        if order is None or order.account != account or order.status != "NEW":
            raise Rejected("unknown order")
        asset, amount = order.reserved
        self.free[account][asset] += amount
        order.status = "CANCELED"
        self.counts["cancelled"] += 1
        return order

    def withdraw(self, account: str, asset: str, amount: Decimal) -> None:
        """Take money out."""
        if asset not in PURSE or not amount > 0:
            raise Rejected("unknown asset, or no positive amount")
        self._take(account, asset, amount)
        self.counts["withdrawn"] += 1

    def open(self, account: str) -> list[Order]:
        """Return the orders of an account that rest in the book."""
        return [order for order in self.orders.values() if order.account == account and order.status == "NEW"]

    def balances(self, account: str) -> list[dict[str, str]]:
        """Return free and held amounts by asset."""
        held: defaultdict[str, Decimal] = defaultdict(Decimal)
        for asset, amount in (order.reserved for order in self.open(account)):
            held[asset] += amount
        free = self.free[account]
        return [{"asset": asset, "free": f"{free[asset]:.8f}", "locked": f"{held[asset]:.8f}"} for asset in free]

    def _take(self, account: str, asset: str, amount: Decimal) -> None:
        if self.free[account][asset] < amount:
            raise Rejected("insufficient balance")
        self.free[account][asset] -= amount
