"""Configs of the data: the source of the raw files, the rules for bad rows, and how samples are made."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from gensr_model.config.base import Frozen, Protocol
from gensr_model.config.remote_sources import RemoteFile, S3Source, SqlSource
from gensr_model.config.secrets import ENV, NO_SECRET, refuse_secrets


class GeneratedSource(Frozen):
    """Generated raw files in the exact published format. They contain no real data."""

    kind: Literal["generated"] = "generated"
    users: int = Field(1_200, ge=20, description="Number of users to generate.")
    items: int = Field(800, ge=150, description="Number of items to generate.")
    events_per_user: float = Field(
        12.0, gt=0, description="Mean number of purchases (amazon) or clicks (kuaisar) of a user."
    )
    search_share: float = Field(
        0.45, gt=0, lt=1, description="Share of the clicks that come from search (kuaisar only)."
    )
    world_seed: int = Field(0, description="Seed of the generated data. Training uses `seed`.")


class FolderSource(Frozen):
    """Raw files in a folder, under their published names, compressed (``*.gz``) or plain."""

    kind: Literal["folder"] = "folder"
    path: str = Field(
        json_schema_extra={"pattern": rf"{NO_SECRET}[\s\S]*\S"}, description="Path of the folder with the raw files."
    )

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        if not path.strip():
            raise ValueError(f"{path!r} is blank. Set source.path to the folder with the raw files.")
        return path


class DownloadSource(Frozen):
    """Raw files to download. Without ``files`` the format's published files are downloaded."""

    kind: Literal["download"] = "download"
    files: tuple[RemoteFile, ...] = Field(
        (), description="Files to download. Empty: the published files of the format."
    )


# A source may be a plain string: one of these words, a path, or a URL. Prefect's server checks the pattern.
_WORDS = ("generated", "download")
_Text = Annotated[str, Field(title="word, path or URL", pattern=rf"{NO_SECRET}(?:(?:{'|'.join(_WORDS)})$|[\s\S]*/)")]
_FILE = rf"https?://|{ENV}$"
_Urls = Annotated[
    list[Annotated[str, Field(pattern=rf"{NO_SECRET}(?:{_FILE})")]], Field(title="URLs of files", min_length=1)
]


def _as_source(given: Any) -> Any:
    """The source that a plain string or a list of URLs stands for. Raises ValueError where it stands for none."""
    if isinstance(given, Frozen) or (isinstance(given, dict) and given):
        return given
    refuse_secrets(given, "source")
    if (source := _source_of(given)) is not None:
        return source
    expected = f"expected {', '.join(_WORDS)}, the path of a folder, which contains a /, or a URL of s3 or http(s)"
    if isinstance(given, str) and "://" in given:
        raise ValueError(
            f"{given!r} is no source: {expected}. A database needs queries: "
            "{kind: sql, url: env:NAME, events: select …, items: select …}"
        )
    raise ValueError(f"{given!r} is no source: {expected}{_suggestion(given)}")


def _source_of(given: Any) -> dict[str, Any] | None:
    """The source, as an object, that a plain string or a list of URLs means. None where it means none."""
    if given and isinstance(given, list | tuple):
        urls = all(isinstance(url, str) and re.match(_FILE, url) for url in given)
        return {"kind": "download", "files": [{"url": url} for url in given]} if urls else None
    if not isinstance(given, str):
        return None
    if given in _WORDS:
        return {"kind": given}
    if re.match("https?://", given):
        return {"kind": "download", "files": [{"url": given}]}
    if given.startswith("s3://"):
        return {"kind": "s3", "url": given}
    return {"kind": "folder", "path": given} if "/" in given and "://" not in given else None


def _suggestion(given: Any) -> str:
    """What the user may have meant by an invalid source. Empty for a path with backslashes."""
    text = given.strip() if isinstance(given, str) else ""
    if "\\" in text:
        return ""
    if re.fullmatch(ENV, text):
        return f" (for a URL that {text} holds: [{text}], {{kind: s3, url: {text}}} or kind: sql)"
    if text.lower() in _WORDS:
        return f" (did you mean {text.lower()}?)"
    return f" (such as {'~/' if text == '~' else './' + (text or 'data')})"


def source_kind(given: Any) -> str:
    """The kind of a source before validation."""
    if isinstance(given, str | list | tuple):
        return str((_source_of(given) or {"kind": "folder"})["kind"])
    kind = given.get("kind") if isinstance(given, dict) else getattr(given, "kind", None)
    return kind or "generated"


_Any = GeneratedSource | FolderSource | DownloadSource | S3Source | SqlSource
Source = Annotated[
    Annotated[_Any, Field(discriminator="kind")],
    BeforeValidator(_as_source, json_schema_input_type=_Text | _Urls | _Any),
]


class IngestConfig(Frozen):
    """Limits on bad rows: when a row is rejected, and how many rejects stop a run."""

    max_reject_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Largest share of bad rows in a file, and so in all files. Above it the run stops.",
    )
    max_undescribed_share: float = Field(
        0.5, ge=0, le=1, description="Largest share of items without a row in the item file. Above it the run stops."
    )
    earliest: str = Field("1995-01-01", description="First valid day, as YYYY-MM-DD. Events before it are rejected.")

    @field_validator("earliest")
    @classmethod
    def _is_a_day(cls, given: str) -> str:
        return date.fromisoformat(given).isoformat()


class PrepareConfig(Frozen):
    """How samples and their frozen candidates are made from raw rows."""

    min_interactions: int = Field(
        5, ge=1, description="k of the k-core: every user and every item has at least k interactions (§6.1.1)."
    )
    negatives: int = Field(
        99,
        ge=1,
        description="Frozen negatives per evaluation sample (§6.1.3). With the protocol `shown` at most so many.",
    )
    protocols: tuple[Protocol, ...] = Field(
        ("uniform",),
        min_length=1,
        description="How negatives are drawn. Each protocol has frozen lists of its own. `bm25` draws for search only. "
        "`shown` takes what was shown beside the positive, and needs impressions.",
    )
    stem_queries: bool = Field(False, description="Reduce the words of queries to their stems.")
    same_time: Literal["exclude", "include"] = Field(
        "exclude",
        description="Which events of the sample's own instant its history holds. `exclude`: none. `include`: "
        "those before the sample in the order of source rows.",
    )
    until: str | None = Field(
        None,
        description="Leave out events at or after this time. Give YYYY-MM-DD, or a time with its zone "
        "(2023-05-23T00:00+08:00); the zone defaults to UTC.",
    )
    memory_limit: str = Field(
        "8GB", description="Memory limit of DuckDB. Above it DuckDB writes to its temporary folder."
    )
    threads: int = Field(2, ge=1, description="Threads of DuckDB.")
    dask: str | None = Field(
        None,
        min_length=1,
        description="Address of a Dask scheduler (tcp://host:8786). Its workers parse, filter, draw candidates and "
        "audit, each within `memory_limit` and `threads`. Left out: this machine does.",
    )

    @field_validator("until")
    @classmethod
    def _is_a_time(cls, given: str | None) -> str | None:
        if given is None:
            return None
        time = datetime.fromisoformat(given)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat(timespec="milliseconds")
