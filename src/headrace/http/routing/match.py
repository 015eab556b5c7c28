"""Finds the routes of a path in the table of all routes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from headrace.http.routing.route import Route, Who
from headrace.http.server.head import decode_path

_PLACE = re.compile(r"\\\{(\w+)(:path)?\\\}")


class Plain:
    """A route that method and path alone select, with what every request needs of it."""

    __slots__ = ("make_plan", "media", "requires_body", "route", "scope", "who")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.who = route.access.who
        self.scope = route.access.scope
        self.media = route.media
        self.requires_body = route.requires_body
        self.make_plan = route.plan


class Resource:
    """One path and the routes of its methods."""

    def __init__(self, path: str) -> None:
        self.path = path
        #: Routes by method, in the order in which they are tried.
        self.by_method: dict[bytes, tuple[Route, ...]] = {}
        #: Of these, methods with one route that needs no further condition.
        self.plain: dict[bytes, Plain] = {}
        pattern = _PLACE.sub(
            lambda found: f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})", re.escape(path)
        )
        self.pattern = re.compile(pattern, re.DOTALL)

    def add(self, route: Route) -> None:
        """Add a route.

        Raises:
            ValueError: it is unreachable or incomplete.
        """
        if (route.handler is None) == (route.plan is None):
            message = f"{route.method} {route.path} needs either a handler or a plan"
            raise ValueError(message)
        method = route.method.encode()
        before = self.by_method.get(method, ())
        if before and before[-1].when is None and before[-1].when_body is None:
            message = f"{route.method} {route.path} occurs twice"
            raise ValueError(message)
        self.by_method[method] = (*before, route)
        if not before and route.is_plain:
            self.plain[method] = Plain(route)
        if method == b"GET":
            self.by_method[b"HEAD"] = self.by_method[method]
            if method in self.plain:
                self.plain[b"HEAD"] = self.plain[method]

    @property
    def allowed(self) -> str:
        """Its methods, for `Allow`."""
        names = {method.decode() for method in self.by_method}
        if any(route.cors is not None for route in self.routes):
            names.add("OPTIONS")
        return ", ".join(sorted(names))

    @property
    def routes(self) -> Iterable[Route]:
        for method, routes in self.by_method.items():
            if method != b"HEAD":
                yield from routes

    @property
    def who(self) -> Who:
        """Who may know which methods there are."""
        return next(iter(self.routes)).access.who


class RouteTable:
    """All routes by their paths.

    A path without parameters wins over one with parameters; of two paths with parameters, the one
    that is literal at the first difference wins.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        resources: dict[str, Resource] = {}
        for route in self.routes:
            resources.setdefault(route.path, Resource(route.path)).add(route)
        self._fixed = {
            path.encode(): resource for path, resource in resources.items() if "{" not in path
        }
        #: Those with parameters, by the first part of their path.
        self._patterns: dict[str, list[Resource]] = {}
        for path in sorted((path for path in resources if "{" in path), key=_order):
            self._patterns.setdefault(first_part(path), []).append(resources[path])
        areas: dict[str, set[Who]] = {}
        for route in self.routes:
            areas.setdefault(first_part(route.path), set()).add(route.access.who)
        self._areas = {area: whos.pop() for area, whos in areas.items() if len(whos) == 1}

    def find(self, path: bytes) -> tuple[Resource | None, dict[str, str]]:
        """The resource of a path as it was sent, and the values of its parameters."""
        resource = self._fixed.get(path)
        if resource is not None:
            return resource, _NO_VALUES
        text = decode_path(path)
        resource = self._fixed.get(text.encode())
        if resource is not None:
            return resource, _NO_VALUES
        for candidate in self._patterns.get(first_part(text), ()):
            match = candidate.pattern.fullmatch(text)
            if match is not None:
                return candidate, match.groupdict()
        return None, _NO_VALUES

    def mount_of(self, path: bytes) -> bytes:
        """The first segment of a path, which may belong to another application."""
        return b"/" + first_part(decode_path(path)).encode()

    def who_of_area(self, path: bytes) -> Who:
        """Who may learn that a path does not exist: who may use the others below its segment."""
        who = self._areas.get(first_part(decode_path(path)), Who.KEY)
        return Who.OPERATOR if who is Who.OPERATOR else Who.KEY


_NO_VALUES: dict[str, str] = {}


def first_part(path: str) -> str:
    """`events` of `/events/x`."""
    return path[1:].partition("/")[0]


def _order(path: str) -> list[tuple[bool, bool, str]]:
    return [("{" in part, ":path}" in part, part) for part in path.split("/")]
