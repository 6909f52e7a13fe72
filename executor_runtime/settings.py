"""The environment of the executor, read and checked once, before anything else happens.

The seed's names (T010); each may also be given as ``NAME_FILE``, a file that holds the value.
Tokens are read again whenever their file changes (``secret.Token``); everything else takes
effect at the next start. A wrong value ends the start with one line that names the variable.
"""

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from contracts import bounds
from contracts.pool import IsolationMode
from executor_runtime.errors import StartError

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

TOKEN_PATTERN: Final = re.compile(r"[\x21-\x7e]{1,4096}")
"""What may stand behind ``Authorization: Bearer``: visible ASCII."""
_MAX_FILE_BYTES: Final = 65_536
_SHOWN_CHARS: Final = 60
_MIN_CONCURRENT: Final = 2
DEFAULT_WARM_SANDBOXES: Final = 4
DEFAULT_WARM_JAVASCRIPT: Final = 1
"""Sandboxes that are started ahead of requests, about 6 MB of memory each; 0: none."""


def _http_url(value: str) -> str:
    if "$(" in value:
        raise ValueError("names a Service that the kubelet did not know yet: the container is to be started again")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("must be an http:// or https:// URL without user, query and fragment")
    _ = parts.port  # raises ValueError when it is no port
    return value.rstrip("/")


def _token(value: SecretStr) -> SecretStr:
    if not TOKEN_PATTERN.fullmatch(value.get_secret_value()):
        raise ValueError("must be 1 to 4096 visible ASCII characters without spaces")
    return value


def _default_concurrency() -> int:
    return max(_MIN_CONCURRENT, len(os.sched_getaffinity(0)))


TokenValue = Annotated[SecretStr, AfterValidator(_token)]


class _NamedFiles(PydanticBaseSettingsSource):
    """Values from the files that ``NAME_FILE`` variables name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of the field's file, if its variable is set."""
        variable = f"{field_name.upper()}_FILE"
        path = os.environ.get(variable, "")
        if not path:
            return None, field_name, False
        if os.environ.get(field_name.upper(), ""):
            raise StartError(f"{field_name.upper()} and {variable} are both set: unset one of them")
        return _file_content(variable, Path(path)), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Field name → value, for the fields that have a file."""
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, _, _ = self.get_field_value(field, name)
            if value is not None:
                found[name] = value
        return found


def _file_content(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise StartError(
                f"{variable} names a file of more than {_MAX_FILE_BYTES} bytes: name one that holds a value"
            )
        text = content.decode().strip()
    except OSError as error:
        raise StartError(
            f"{variable} names {_shown(str(path))}, which cannot be read ({error.strerror}): "
            f"make it readable for uid {os.geteuid()}, or name another file; for example {variable}=/etc/executor/value"
        ) from error
    except UnicodeDecodeError as error:
        raise StartError(f"{variable} names {_shown(str(path))}, which is not UTF-8 text") from error
    if not text:
        raise StartError(f"{variable} names {_shown(str(path))}, which is empty: write the value into it")
    return text


class Settings(BaseSettings):
    """All that can be set; the first example of each field stands in its error line."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    control_plane_url: Annotated[str, AfterValidator(_http_url)] | None = Field(
        default=None, examples=["http://control-plane:8000"]
    )
    internal_api_token: TokenValue | None = Field(default=None, examples=["<the Control Plane's token>"])
    execute_api_token: TokenValue | None = Field(default=None, examples=["<what clients of /execute show>"])
    host: str = Field(default="0.0.0.0", examples=["0.0.0.0"])
    executor_port: int = Field(default=8080, ge=0, le=65_535, examples=["8080"])
    log_level: LogLevel = Field(default="INFO", examples=["INFO"])
    debug: bool = Field(default=False, examples=["true"])
    workspace_path: Path = Field(default=Path("/workspace"), examples=["/workspace"])
    results_path: Path = Field(default=Path("/tmp/results"), examples=["/tmp/results"])
    max_concurrent_executions: int = Field(default_factory=_default_concurrency, ge=1, le=256, examples=["4"])
    warm_sandboxes: int = Field(default=DEFAULT_WARM_SANDBOXES, ge=0, le=256, examples=["4"])
    warm_javascript: int = Field(default=DEFAULT_WARM_JAVASCRIPT, ge=0, le=64, examples=["2"])
    isolation_mode: IsolationMode = Field(default="strict", examples=["strict"])
    container_id: str = Field(default_factory=socket.gethostname, max_length=253, examples=["executor-1"])
    pod_name: str = Field(default="", max_length=253, examples=["executor-default-7d4b9c-x2x9k"])
    workspace_retention_seconds: float = Field(default=60.0, ge=0, le=86_400, examples=["60"])
    session_retention_seconds: float = Field(default=3600.0, ge=0, le=604_800, examples=["3600"])

    output_object_bytes: int = Field(default=0, ge=0, le=bounds.MAX_OUTPUT_OBJECT_BYTES, examples=["67108864"])
    output_total_bytes: int = Field(default=bounds.OUTPUT_TOTAL_BYTES, ge=1, examples=["268435456"])

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment and the files it names; no dotenv file, no secrets directory."""
        return init_settings, env_settings, _NamedFiles(settings_cls)

    @model_validator(mode="after")
    def _reports_need_a_token(self) -> Self:
        if self.control_plane_url is not None and self.internal_api_token is None:
            raise StartError(
                "INTERNAL_API_TOKEN is missing: CONTROL_PLANE_URL is set, and reports need a token; "
                "for example INTERNAL_API_TOKEN_FILE=/etc/executor/token"
            )
        return self

    def token_file(self, name: str) -> Path | None:
        """The file of a token, when it is given as one."""
        path = os.environ.get(f"{name.upper()}_FILE", "")
        return Path(path) if path else None


def load_settings() -> Settings:
    """The settings that the environment gives.

    Raises:
        StartError: a value is missing or wrong; the text is one line.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [_explain(dict(found)) for found in error.errors(include_url=False, include_input=True)]
        raise StartError("; ".join(lines)) from None


def _explain(error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0])
    field = Settings.model_fields[name]
    variable = name.upper()
    secret = name.endswith("_token")
    shown = "has a value that" if secret else f"is {_shown(str(error['input']))}, which"
    example = (field.examples or [""])[0]
    return f"{variable} {shown} {_problem(error)}; for example {variable}={example}"


def _problem(error: Mapping[str, Any]) -> str:
    context = error.get("ctx", {})
    kind = error["type"]
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be one of {context['expected']}"
    if kind in ("greater_than_equal", "greater_than", "less_than_equal"):
        bound = next(iter(context.values()))
        return {"greater_than_equal": "must be at least", "greater_than": "must be above"}.get(
            kind, "must be at most"
        ) + f" {bound:g}"
    if kind.startswith("int_"):
        return "must be a whole number"
    if kind.startswith("float_"):
        return "must be a number"
    if kind.startswith("bool_"):
        return "must be true or false"
    return f"is wrong: {error['msg']}"


def _shown(text: str) -> str:
    """A value as it may stand in one line: quoted, escaped and short."""
    return ascii(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…")
