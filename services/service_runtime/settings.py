"""Settings of a process: one pydantic model read from flags, then the environment, then defaults.

Every field is a flag (`lease_seconds` is `--lease-seconds`) and a variable
(`TRAINING_ENGINE_LEASE_SECONDS`). Flags are built here rather than by pydantic's own command-line
source (2.16), which shows Python's types for values (`--data-root list[Path]`), no unit, asterisks
for the default Redis URL, and a traceback for a wrong value, which is one line here.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin
from urllib.parse import quote, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ENV_PREFIX = "TRAINING_ENGINE_"

SettingsType = TypeVar("SettingsType", bound=BaseSettings)


def setting(default: Any, description: str, *, unit: str = "", **rules: Any) -> Any:
    """Return a field of a settings class; `unit` (e.g. "seconds") is shown by `--help`.

    `rules` are pydantic's own constraints (`gt`, `ge`, `le`, …).
    """
    if isinstance(default, list):
        rules["default_factory"] = lambda: list(default)
    else:
        rules["default"] = default
    return Field(description=description, json_schema_extra={"unit": unit}, **rules)


def _split_paths(value: Any) -> Any:
    """Return a list from a variable: entries are separated as in PATH."""
    if isinstance(value, str):
        return [part for part in value.split(os.pathsep) if part]
    return value


def _named_in_text(paths: list[Path]) -> list[Path]:
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:  # no record of a job could hold it
            raise ValueError(
                f"{str(path)!a} is not text in UTF-8; rename the folder, or name another"
            ) from None
    return paths


PathList = Annotated[
    list[Path], NoDecode, BeforeValidator(_split_paths), AfterValidator(_named_in_text)
]
"""A repeatable flag; in the environment, entries are separated as in PATH."""


def _split_names(value: Any) -> Any:
    """Return a list from a variable: names are separated by commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


NameList = Annotated[list[str], NoDecode, BeforeValidator(_split_names)]
"""A repeatable flag; in the environment, names are separated by commas."""


class EngineSettings(BaseSettings):
    """Reads every field from a variable with our prefix.

    The groups below all derive from it: pydantic lets the last base's configuration win, so a
    group without the prefix would silently take it away from the whole class.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore")

    @field_validator("*")
    @classmethod
    def _at_home(cls, value: Any) -> Any:
        """Replace a leading `~` in paths, which no shell does in `--data-root=~/text`."""
        if isinstance(value, list):
            return [cls._at_home(item) for item in value]
        try:
            return value.expanduser() if isinstance(value, Path) else value
        except RuntimeError:
            reason = "it begins with ~, and this user has no home folder; write the path out"
            raise ValueError(reason) from None


class ServiceSettings(EngineSettings):
    """What every process takes."""

    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "least severe messages that are logged"
    )
    log_format: Literal["console", "json"] = setting(
        "console", "console is for people, json for collectors; both go to standard error"
    )
    metrics_host: str = setting("127.0.0.1", "address of the Prometheus metrics server")
    metrics_port: int = setting(
        0, "port of the Prometheus metrics server; 0 for none", ge=0, le=65535
    )
    exit_with_parent: bool = setting(
        False, "get SIGTERM when the process that started this one dies (Linux)"
    )


class RedisSettings(EngineSettings):
    """Where job state lives. The URL may hold a password, so it is never printed."""

    redis_url: SecretStr = setting(
        SecretStr("redis://127.0.0.1:6379/0"),
        "Redis URL, or redis+sentinel://HOST:PORT,HOST:PORT/NAME; a password in a flag is visible "
        "to other users of the machine, so prefer the variable or --redis-url-file",
    )
    redis_url_file: Path | None = setting(
        None, "file whose first line is the Redis URL; wins over --redis-url"
    )
    redis_password_file: Path | None = setting(
        None, "file whose first line is the password, for a Redis URL that holds none"
    )

    def resolved_redis_url(self) -> str:
        """Return the URL to connect to, password included.

        Raises:
            SettingsError: A setting cannot be used.
        """
        url = self.redis_url.get_secret_value()
        if self.redis_url_file is not None:
            url = read_secret_lines(self.redis_url_file, "redis_url_file")[0]
        require_readable_url(url)
        if self.redis_password_file is None:
            return url
        return with_password(
            url, read_secret_lines(self.redis_password_file, "redis_password_file")[0]
        )


class AuthenticationSettings(EngineSettings):
    """Who may call. Without tokens everybody may."""

    auth_tokens: SecretStr | None = setting(
        None, "bearer tokens that are let in, separated by commas; none lets everybody in"
    )
    auth_tokens_file: Path | None = setting(
        None, "file of bearer tokens, one on a line; added to --auth-tokens"
    )

    def accepted_tokens(self) -> list[str]:
        """Return every configured token; empty where authentication is off.

        Raises:
            SettingsError: A setting cannot be used.
        """
        parts = self.auth_tokens.get_secret_value().split(",") if self.auth_tokens else []
        tokens = [token.strip() for token in parts if token.strip()]
        if self.auth_tokens_file is not None:
            tokens += read_secret_lines(self.auth_tokens_file, "auth_tokens_file")
        for place, token in enumerate(tokens, 1):
            if not (token.isascii() and token.isprintable()) or " " in token:
                raise SettingsError(
                    f"--auth-tokens: token {place} holds a space or a character beyond printable "
                    "ASCII, which headers cannot carry; use letters, digits, - and _, as from "
                    "`openssl rand -hex 32`"
                )
        return tokens


class ListenSettings(AuthenticationSettings):
    """Where a server listens; without tokens it may only listen on this machine."""

    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0 for every interface")
    allow_unauthenticated: bool = setting(
        False, "listen beyond this machine although no token is configured"
    )

    def require_safe_binding(self) -> None:
        """Refuse to serve a network without any access control.

        Raises:
            SettingsError: A setting cannot be used.
        """
        if is_loopback(self.host) or self.accepted_tokens() or self.allow_unauthenticated:
            return
        raise SettingsError(
            f"--host: {self.host} can be reached from other machines and no token is configured, "
            "so anybody there could stop jobs and read checkpoints; configure --auth-tokens-file, "
            "listen on 127.0.0.1, or pass --allow-unauthenticated if the network itself is trusted"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address or name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class SettingsError(ValueError):
    """A setting that cannot be used; the text names the flag, the rule and the remedy."""


def read_secret_lines(path: Path, field: str) -> list[str]:
    """Return the non-empty lines of a file of secrets.

    Raises:
        SettingsError: The file cannot be read, or is empty. The text has none of the secrets.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"{flag_name(field)}: cannot read {path}: {reason}") from None
    lines = [line for line in lines if line]
    if not lines:
        raise SettingsError(f"{flag_name(field)}: {path} is empty; write the value on a line")
    return lines


def with_password(url: str, password: str) -> str:
    """Return `url` with this password.

    Raises:
        SettingsError: It has one already.
    """
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if ":" in user:
        raise SettingsError(
            "--redis-password-file: the Redis URL holds a password already; leave out one of them"
        )
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()


def require_readable_url(url: str) -> None:
    """Refuse a Redis URL whose password holds what ends a part of a URL, as `/` does.

    Raises:
        SettingsError: The URL has such a password; the text has no part of the URL.
    """
    try:
        parts = urlsplit(url)
        hosts = parts.netloc.rpartition("@")[2].split(",")  # several where they are sentinels
        readable = all((urlsplit(f"//{host}").port or 0) >= 0 for host in hosts)
    except ValueError:  # the text after a colon is not a port, or there is a bracket
        readable = False
    else:
        rest = parts.query + parts.fragment + ("" if parts.scheme == "unix" else parts.path)
        readable = readable and "@" not in rest
    if not readable:
        raise SettingsError(
            "the Redis URL cannot be read; where a password in it holds one of / ? # @ : [ ] %, "
            "write that character percent-encoded (%2F %3F %23 %40 %3A %5B %5D %25), or leave the "
            "password to --redis-password-file"
        )


def mask_url(url: str) -> str:
    """Return `url` for a log, its password replaced by ***."""
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    user, colon, password = credentials.partition(":")
    masked = f"{scheme}{separator}{user}:***@{place}" if at and colon and password else url
    return re.sub(r"([?&](?:sentinel_)?password=)[^&]*", r"\1***", masked)


def flag_name(field: str) -> str:
    """Return the flag of a field."""
    return "--" + field.replace("_", "-")


def parse_settings(
    settings_class: type[SettingsType], program: str, arguments: Sequence[str] | None = None
) -> SettingsType:
    """Return settings from flags, environment and defaults, in this order.

    Prints usage and exits 2 where a value is wrong, like any command.
    """
    parser = build_parser(settings_class, program)
    flags = vars(parser.parse_args(sys.argv[1:] if arguments is None else list(arguments)))
    try:
        return settings_class(**flags)
    except ValidationError as error:
        parser.exit(
            2, "".join(f"{program}: error: {line}\n" for line in _problem_lines(error, flags))
        )
    raise AssertionError("unreachable: exit() above does not return")


def build_parser(settings_class: type[BaseSettings], program: str) -> argparse.ArgumentParser:
    """Return the command line of a settings class.

    A flag that is not given stays out of the result.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=settings_class.__doc__,
        epilog=f"Each flag can also be set by the variable {ENV_PREFIX}NAME. Flags win.",
        allow_abbrev=False,
    )
    for name, field in settings_class.model_fields.items():
        _add_flag(parser, name, field)
    return parser


def _add_flag(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": _help(field)}
    kind = _plain_type(field)
    if kind is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif get_origin(kind) is Literal:
        options["choices"] = get_args(kind)
    else:
        options["metavar"] = _metavar(kind)
        options["action"] = "append" if get_origin(kind) is list else "store"
    parser.add_argument(flag_name(name), **options)


def _plain_type(field: FieldInfo) -> Any:
    """Return the annotation without `None` and without metadata."""
    annotation = field.annotation
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _metavar(kind: Any) -> str:
    inner = get_args(kind)[0] if get_origin(kind) is list else kind
    return {int: "N", float: "NUMBER", Path: "PATH", SecretStr: "SECRET"}.get(inner, "TEXT")


def _help(field: FieldInfo) -> str:
    extra = cast("dict[str, str]", field.json_schema_extra or {})
    unit = extra.get("unit", "")
    facts = [unit, f"default: {_shown_default(field)}"]
    if get_origin(_plain_type(field)) is list:
        facts.insert(0, "may be repeated")
    text = f"{field.description} ({'; '.join(fact for fact in facts if fact)})"
    return text.replace("%", "%%")


def _shown_default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if isinstance(default, SecretStr):
        return mask_url(default.get_secret_value())
    if default is None or default == []:
        return "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, list):
        return ", ".join(map(str, default))
    return str(default)


def _problem_lines(error: ValidationError, flags: Collection[str]) -> list[str]:
    """Return one line for each wrong value, without the values of secrets.

    What no flag gave is named by its variable.
    """
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        field = str(problem["loc"][0]) if problem["loc"] else "settings"
        value = problem.get("input")
        shown = "the value" if "url" in field or "token" in field else repr(value)
        source = flag_name(field) if field in flags else ENV_PREFIX + field.upper()
        lines.append(f"{source}: {shown} is not usable: {problem['msg']}")
    return lines
