"""``gensr serve``: a model of MLflow's registry, or a bundle folder, behind an HTTP server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gensr_model.errors import ConfigError, DataError
from gensr_model.models import bundle
from gensr_model.serving.event_log import EventLog
from gensr_model.serving.http import server
from gensr_model.serving.http.app import Settings, create_app
from gensr_model.serving.http.guard import Access
from gensr_model.serving.http.versions import Served, Source, UnknownVersion, Versions
from tasks.serve.follow import Follower

if TYPE_CHECKING:
    from tasks.serve.newest import Newest
    from tasks.serve.registry import Registry

KEY = "GENSR_API_KEY"


class Place(NamedTuple):
    """Where a server listens, and who may ask it."""

    host: str
    port: int
    key: str | None

    def access(self) -> Access:
        """Raises ConfigError for an address that other machines reach without an API key."""
        here = server.is_loopback(self.host)
        if not here and not self.key:
            raise ConfigError(
                f"other machines can reach {self.host}, so requests need an API key. Set {KEY} to a long random text, "
                "or leave out --host."
            )
        return Access(self.key, only_this_machine=here)


class Folder:
    """A ``Source`` with one version: a bundle folder."""

    def __init__(self, folder: Path) -> None:
        if not (folder / bundle.CONFIG).is_file():
            raise DataError(
                f"{folder} has no {bundle.CONFIG}, so it is no model bundle. Name the folder of a trained model."
            )
        self._folder = folder.resolve()
        self.model, self.version = bundle.kind(folder), self._folder.name

    def load(self, version: str) -> Served:
        """Load and test the bundle."""
        if version != self.version:
            raise UnknownVersion(f"the only version is {self.version}: the server was started with --bundle.")
        return Served.open(self.model, version, self._folder)

    def listing(self) -> list[dict[str, Any]]:
        """The one version."""
        return [{"version": self.version, "aliases": [], "created": None, "outcome": None, "run_url": None}]


def serve_folder(folder: Path, place: Place, events: Path | None, started: Callable[[Served, str], None]) -> None:
    """Serve a bundle folder until a signal. ``started`` gets the version and the address of the server."""
    source = Folder(folder)
    _serve(source, source.version, place, events, started)


def serve_model(
    registry: Registry, version: str | None, place: Place, events: Path | None,
    started: Callable[[Served, str], None], newest: Callable[[], Newest | None] = lambda: None,
) -> None:  # fmt: skip
    """Serve a registered model until a signal: its champion, which is followed, or one version.

    Where nothing was promoted, ``newest`` gives the model that serves until a champion is there.

    Raises:
        ConfigError: the address needs a key, or is not free.
        DataError: there is no model to serve, or no such version, or it fails its self-test.
    """
    wanted = version or registry.champion()
    source: Registry | Newest = registry
    if wanted is None:
        logged = newest()
        if logged is None:
            raise DataError(
                f"{registry.model} has no champion, and no run logged a model for it. Make one with `gensr run`, or "
                "name a version with --version."
            )
        source, wanted = logged, logged.version
    _serve(source, wanted, place, events, started, registry.champion if version is None else None)


def _serve(
    source: Source, version: str, place: Place, events: Path | None, started: Callable[[Served, str], None],
    champion: Callable[[], str | None] | None = None,
) -> None:  # fmt: skip
    access = place.access()
    bound = server.bind(place.host, place.port)
    with bound:
        served = source.load(version)
        versions = Versions(source, served)
        app = create_app(versions, Settings(access), EventLog(events) if events else None)
        follower = Follower(versions, champion) if champion else None
        if follower:
            follower.start()
        try:
            server.run(app, bound, lambda: started(served, server.address(bound)))
        finally:
            if follower:
                follower.close()
