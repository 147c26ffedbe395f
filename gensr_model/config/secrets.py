"""Secrets in URLs: refuse them in a config, read them from the environment, and remove them from messages."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel

from gensr_model.errors import ConfigError

HIDDEN = "***"
ENV = "env:[A-Za-z_][A-Za-z0-9_]*"


def _any_case(names: str) -> str:
    """A pattern that ignores case, for JSON Schema, which has no flag for that."""
    return re.sub("[a-z]", lambda letter: f"[{letter[0].upper()}{letter[0]}]", names)


# A user or a password before the host. A password may hold / or #, which end the host in a URL that is well formed.
_USER = r"""://(?:[^\s/?#"']*@|[^\s/?#:"']*:(?![0-9]*(?:[\s/?#"']|$))[^\s"']*@)"""
_PART = _any_case("signature|token|secret|passw|credential|authorization|api[_-]?key|access[_-]?key")
_WHOLE = _any_case("sig|key|pwd|pass|auth|sas|jwt|hmac|bearer")
_PARAMETER = rf"[?&;#](?:[A-Za-z0-9_.-]*(?:{_PART})[A-Za-z0-9_.-]*|{_WHOLE})="
_SETTING = (
    rf"""(?:^|[\s?&;"'])(?:{_any_case("password|passwd|pwd")})\s*=\s*(?=\S)"""  # in a text such as host=… password=…
)
_KINDS = {
    "a user or a password": re.compile(_USER),
    "a signature, a token or a key": re.compile(rf"://\S*{_PARAMETER}"),
    "a password": re.compile(_SETTING),
}
#: For JSON Schema, at the beginning of a pattern: text without a secret.
NO_SECRET = rf"^(?![\s\S]*(?:{_USER}|{_PARAMETER}|{_SETTING}))"


def secret_in(text: str) -> str | None:
    """The kind of secret in a URL within the text, in words. None where there is no secret."""
    forms = (text, unquote(text)) if "%" in text else (text,)
    return next((kind for kind, pattern in _KINDS.items() if any(map(pattern.search, forms))), None)


def refuse_secrets(node: Any, place: str = "") -> None:
    """Raise ValueError for a text below ``node`` that has a secret in a URL. The message names the field, not the
    value.
    """
    if isinstance(node, BaseModel):
        node = vars(node)
    if isinstance(node, dict):
        node = node.items()
    elif isinstance(node, list | tuple):
        node = enumerate(node)
    elif isinstance(node, str) and (kind := secret_in(node)):
        raise ValueError(
            f"{place}: the URL holds {kind}, which every run would store in plain text. Put the URL "
            "into an environment variable and set this field to env:NAME."
        )
    else:
        return
    for name, value in node:
        refuse_secrets(value, f"{place}.{name}" if place else str(name))


def resolved(given: str, field: str) -> str:
    """The URL that a field means. For ``env:NAME`` this is the variable's value, which no config, key or message may
    hold.

    Raises ConfigError where the variable is not set.
    """
    if not re.fullmatch(ENV, given):
        return given
    name = given.removeprefix("env:")
    if not (value := os.environ.get(name, "").strip()):
        raise ConfigError(
            f"{field}: the environment variable {name} is not set where this run works. Export it in the shell that "
            "starts the worker: gensr down, export it, gensr run."
        )
    return value


def scrubbed(text: str, *secrets: str | None) -> str:
    """A message without the given secrets, and without secrets in the URLs that it quotes."""
    for secret in sorted({form for one in secrets if one for form in (one, unquote(one))}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = re.sub(_USER, f"://{HIDDEN}@", text)
    return re.sub(rf"""({_PARAMETER}|{_SETTING})[^\s&;#"']*""", rf"\g<1>{HIDDEN}", text)
