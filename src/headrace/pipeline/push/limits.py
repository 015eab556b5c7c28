"""Limits of what clients without a key may send, by app and by address.

They are kept in the memory of each server: behind several servers a client may use each of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from headrace.domain.errors import ApiError, ErrorCode
from headrace.pipeline.token_bucket import TokenBucket

#: Requests of one address a second. A phone that was offline sends up to 1,000 at once, and many
#: phones share the address of their network.
ADDRESS_RATE, ADDRESS_BURST = 1000, 5000
APP_RATE, APP_BURST = 5000, 10_000
#: Addresses and apps that are remembered; past it, the least recently used is forgotten.
CALLERS_MAX = 10_000
HOUR_US = 3600 * 1_000_000
#: The devices of an app are counted again after this time.
COUNTED_US = 600 * 1_000_000
GROWTH_RETRY_S = 600


class Buckets:
    """A bucket of tokens for each caller."""

    def __init__(self, rate: int, burst: int) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, caller: str, now_us: int) -> int:
        """Take one token; 0, or the seconds after which to retry."""
        bucket = self._buckets.pop(caller, None)
        if bucket is None:
            bucket = TokenBucket(self._rate, burst=self._burst)
            if len(self._buckets) >= CALLERS_MAX:
                del self._buckets[next(iter(self._buckets))]
        self._buckets[caller] = bucket
        return bucket.take(now_us)


class RequestRate:
    """Requests of an address and of an app."""

    def __init__(self) -> None:
        self._addresses = Buckets(ADDRESS_RATE, ADDRESS_BURST)
        self._apps = Buckets(APP_RATE, APP_BURST)

    def take(self, address: str, app_id: str, now_us: int) -> None:
        """Count a request.

        Raises:
            ApiError: 429.
        """
        wait_s = self._addresses.take(address, now_us) or self._apps.take(app_id, now_us)
        if wait_s:
            message = "Too many requests of this address or app."
            raise ApiError(ErrorCode.RATE_LIMITED, message, retry_after_s=wait_s)


class DeviceGrowth:
    """How many devices an address may add in an hour, and an app may have.

    Args:
        per_hour_max: new devices of one address.
        devices_max: devices of one app.
        count: counts the devices of an app up to a limit.
    """

    def __init__(
        self,
        per_hour_max: int,
        devices_max: int,
        count: Callable[[str, int], Awaitable[int]],
    ) -> None:
        self._per_hour_max = per_hour_max
        self._devices_max = devices_max
        self._count = count
        #: Address -> hour and new devices in it.
        self._addresses: dict[str, tuple[int, int]] = {}
        #: App -> when its devices were counted, and how many there are.
        self._apps: dict[str, tuple[int, int]] = {}

    async def add(self, address: str, app_id: str, now_us: int) -> None:
        """Count a new device.

        Raises:
            ApiError: 429.
        """
        problem = await self.take(address, app_id, now_us)
        if problem is not None:
            raise problem

    async def take(self, address: str, app_id: str, now_us: int) -> ApiError | None:
        """Count a device that may be new; returns the error for one that is one too many."""
        if self._is_old(app_id, now_us):
            counted = await self._count(app_id, self._devices_max)
            if self._is_old(app_id, now_us):
                _remember(self._apps, app_id, (now_us, counted))
        # From here on nothing waits, so that no concurrent request is forgotten.
        hour = now_us // HOUR_US
        since, added = self._addresses.get(address, (hour, 0))
        added = 0 if since != hour else added
        counted_us, devices = self._apps[app_id]
        is_full = devices >= self._devices_max
        is_much = added >= self._per_hour_max
        allowed = not is_full and not is_much
        _remember(self._addresses, address, (hour, added + allowed))
        _remember(self._apps, app_id, (counted_us, devices + allowed))
        if is_much:
            wait_s = (HOUR_US - now_us % HOUR_US) // 1_000_000 + 1
            message = "Too many new devices of this address."
            return ApiError(ErrorCode.RATE_LIMITED, message, retry_after_s=wait_s)
        if is_full:
            message = "This app has as many devices as it may have."
            return ApiError(ErrorCode.RATE_LIMITED, message, retry_after_s=GROWTH_RETRY_S)
        return None

    def _is_old(self, app_id: str, now_us: int) -> bool:
        return self._apps.get(app_id, (0, 0))[0] < now_us - COUNTED_US

    def give_back(self, address: str, app_id: str) -> None:
        """Forget a device that `take` counted and that was not new."""
        for counts, key in ((self._addresses, address), (self._apps, app_id)):
            since, count = counts.get(key, (0, 0))
            if count:
                counts[key] = (since, count - 1)


def _remember(known: dict[str, tuple[int, int]], key: str, value: tuple[int, int]) -> None:
    known.pop(key, None)
    if len(known) >= CALLERS_MAX:
        del known[next(iter(known))]
    known[key] = value
