"""Redis and Valkey: state and keys shared by all nodes; each step is one script in one round trip."""

from tradeguard.backends.redis.keys import BlockingRedisKeys, RedisKeys
from tradeguard.backends.redis.state import BlockingRedis, Redis

__all__ = ["BlockingRedis", "BlockingRedisKeys", "Redis", "RedisKeys"]
