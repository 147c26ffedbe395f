"""Configs of the data: where the raw files come from, how they are read, and how samples are made of them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from gensr_model.config.base import Frozen, Protocol


class GeneratedSource(Frozen):
    """Generated files in the exact raw format. They are nobody's real data."""

    kind: Literal["generated"] = "generated"
    users: int = Field(1_200, ge=20)
    items: int = Field(800, ge=150)
    events_per_user: float = Field(12.0, gt=0, description="mean purchases (amazon) or clicks (kuaisar) of a user")
    search_share: float = Field(0.45, gt=0, lt=1, description="share of the clicks that are made in search (kuaisar)")
    world_seed: int = Field(0, description="seed of the generated data; training has its own")


class FolderSource(Frozen):
    """Raw files in a folder, named as published (``*.gz`` or plain)."""

    kind: Literal["folder"] = "folder"
    path: str = Field(json_schema_extra={"pattern": r"\S"})

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        if not path.strip():
            raise ValueError(f"{path!r} is blank: give the path of the folder")
        return path


class RemoteFile(Frozen):
    """One file to download; size and digest are checked where given."""

    url: str
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None


class DownloadSource(Frozen):
    """Raw files from the public address; without ``files`` the published ones of the format."""

    kind: Literal["download"] = "download"
    files: tuple[RemoteFile, ...] = ()


# What a plain string may be: one of these words, or a path. Prefect's server checks the pattern.
_WORDS = ("generated", "download")
_Text = Annotated[str, Field(title="word or path", pattern=f"^({'|'.join(_WORDS)})$|/")]


def _as_source(given: Any) -> Any:
    """A plain string as the source that it stands for. Raises ValueError for what can be no source."""
    if isinstance(given, Frozen) or (isinstance(given, dict) and given):
        return given
    if isinstance(given, str) and given in _WORDS:
        return {"kind": given}
    if isinstance(given, str) and "/" in given:
        return {"kind": "folder", "path": given}
    raise ValueError(
        f"{given!r} is no source: expected generated, download, or the path of a folder, which contains a /"
        f"{_suggestion(given)}"
    )


def _suggestion(given: Any) -> str:
    """What may be meant by something that is no source; nothing where the path is of another system."""
    text = given.strip() if isinstance(given, str) else ""
    if "\\" in text:
        return ""
    if text.lower() in _WORDS:
        return f" (did you mean {text.lower()}?)"
    return f" (such as {'~/' if text == '~' else './' + (text or 'data')})"


def source_kind(given: Any) -> str:
    """The kind of a source as given, before it is checked."""
    if isinstance(given, str):
        return given if given in _WORDS else "folder"
    kind = given.get("kind") if isinstance(given, dict) else getattr(given, "kind", None)
    return kind or "generated"


Source = Annotated[
    Annotated[GeneratedSource | FolderSource | DownloadSource, Field(discriminator="kind")],
    BeforeValidator(_as_source, json_schema_input_type=_Text | GeneratedSource | FolderSource | DownloadSource),
]


class IngestConfig(Frozen):
    """Which raw rows are taken, and how many bad ones stop a run."""

    max_reject_share: float = Field(0.01, ge=0, le=1, description="above this share of bad rows the run stops")
    max_undescribed_share: float = Field(
        0.5, ge=0, le=1, description="above this share of items without a row in the item file the run stops"
    )
    earliest: str = Field("1995-01-01", description="timestamps before this day are rejected: YYYY-MM-DD")

    @field_validator("earliest")
    @classmethod
    def _is_a_day(cls, given: str) -> str:
        return date.fromisoformat(given).isoformat()


class PrepareConfig(Frozen):
    """How samples and their frozen candidates are made of raw rows."""

    min_interactions: int = Field(5, ge=1, description="k of the k-core over users and items (§6.1.1)")
    negatives: int = Field(99, ge=1, description="frozen negatives per evaluation sample (§6.1.3)")
    protocols: tuple[Protocol, ...] = Field(
        ("uniform",),
        min_length=1,
        description="how negatives are drawn; each way has its own frozen lists. bm25 is for search only",
    )
    stem_queries: bool = Field(False, description="cut the words of queries to their stems")
    same_time: Literal["exclude", "include"] = Field(
        "exclude",
        description="whether a history leaves out all events of the sample's own instant, or holds those that stand "
        "before the sample in the order of source rows",
    )
    until: str | None = Field(
        None,
        description="leave out events from this time on: YYYY-MM-DD, or a time with its zone "
        "(2023-05-23T00:00+08:00); UTC if it has none",
    )
    memory_limit: str = Field(
        "8GB", description="memory that DuckDB may take; beyond it DuckDB writes to its temp folder"
    )
    threads: int = Field(2, ge=1, description="threads of DuckDB")

    @field_validator("until")
    @classmethod
    def _is_a_time(cls, given: str | None) -> str | None:
        if given is None:
            return None
        time = datetime.fromisoformat(given)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat(timespec="milliseconds")
