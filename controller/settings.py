"""What the controller takes from its environment, checked before anything starts."""

import hmac
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts import bounds
from contracts.bounds import TOKEN_OVERLAP_S
from controller.errors import SettingsError
from controller.metrics import DEFAULT_NAMESPACES
from controller.object_store import Place

_Name = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
_AppArmor = Annotated[str, StringConstraints(pattern=r"^(Unconfined|RuntimeDefault|Localhost/.+)?$")]
_Port = Annotated[int, Field(ge=1, le=65_535)]

STORE_EXAMPLES = {
    "OBJECT_STORE_URL": "s3://sandbox-outputs",
    "OBJECT_STORE_PREFIX": "production",
    "OBJECT_STORE_ENDPOINT": "https://objects.example",
    "OBJECT_STORE_ALLOW_HTTP": "true",
    "OBJECT_STORE_CREDENTIALS": "/var/run/secrets/sandbox-executor-store",
}
_EXAMPLES = {
    "OPERATOR_NAMESPACE": "sandbox-executor",
    "EXECUTOR_IMAGE": "registry.example/sandbox-executor/executor:0.1.0",
    "EXECUTOR_SECRET_NAME": "sandbox-executor-tokens",
    "SERVICE_NAME": "sandbox-executor-controller",
    "INTERNAL_API_TOKEN_FILE": "/var/run/secrets/sandbox-executor/internal-api-token",
    "EXECUTE_API_TOKEN_FILE": "/var/run/secrets/sandbox-executor/execute-api-token",
    "REPORT_KEY_FILE": "/var/run/secrets/sandbox-executor-report/key",
    "INTERNAL_API_PORT": "8080",
    "HEALTH_PORT": "8081",
    "LOG_LEVEL": "INFO",
    "METRICS_NAMESPACES": "100",
    "EXECUTOR_IMAGE_PULL_POLICY": "IfNotPresent",
    "CONTROL_PLANE_URL": "https://control-plane.example/api",
    "CONTROL_PLANE_TOKEN_FILE": "/var/run/secrets/sandbox-executor-control-plane/token",
    "APPARMOR_PROFILE": "Localhost/sandbox-executor",
    **STORE_EXAMPLES,
    "OUTPUT_OBJECT_BYTES": str(bounds.OUTPUT_OBJECT_BYTES),
    "OUTPUT_TOTAL_BYTES": str(bounds.OUTPUT_TOTAL_BYTES),
    "OUTPUT_RETENTION_DAYS": "30",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.observability:4318",
}


def _check_url(value: str) -> str:
    if not value:
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("must be http:// or https://, a host, and at most a port and a path")
    return value


_Url = Annotated[str, AfterValidator(_check_url)]
_Settings = TypeVar("_Settings", bound=BaseSettings)


def _check_store_url(value: str) -> str:
    if not value:
        return value
    parts = urlsplit(value)
    is_folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/") and len(parts.path) > 1
    is_bucket = parts.scheme in ("s3", "gs", "az") and parts.netloc and parts.path in ("", "/")
    if not (is_folder or is_bucket) or parts.query or parts.fragment or parts.username:
        raise ValueError("must be s3://BUCKET, gs://BUCKET, az://CONTAINER or file:///FOLDER")
    return value.rstrip("/")


_StoreUrl = Annotated[str, AfterValidator(_check_store_url)]
_Prefix = Annotated[str, StringConstraints(max_length=256, pattern=r"^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$")]


class StoreSettings(BaseSettings):
    """Where the object store is: the same variables for all processes that use it."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    object_store_url: _StoreUrl = Field(default="", description="Empty: there is none.")
    object_store_prefix: _Prefix = Field(default="", description="Before each object's key.")
    object_store_endpoint: _Url = Field(default="", description="Of a store that is not the cloud's own.")
    object_store_region: str = ""
    object_store_allow_http: bool = Field(default=False, description="Whether the endpoint may be http://.")
    object_store_credentials: Path | None = Field(
        default=None, description="A folder; each file is an option of obstore, such as aws_access_key_id."
    )

    @property
    def object_store(self) -> Place | None:
        """The place; None: there is none."""
        if not self.object_store_url:
            return None
        return Place(
            url=self.object_store_url,
            prefix=self.object_store_prefix,
            endpoint=self.object_store_endpoint,
            region=self.object_store_region,
            allow_http=self.object_store_allow_http,
            credentials=self.object_store_credentials,
        )


class Settings(StoreSettings):
    """The controller's settings; each is an environment variable of the same name in upper case."""

    operator_namespace: _Name
    executor_image: Annotated[str, StringConstraints(min_length=1)]
    executor_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    executor_secret_name: _Name
    service_name: _Name
    pod_name: str = Field(default="", description="Of the controller's own pod, with its uid and address; empty:")
    pod_uid: str = Field(default="", description="it runs in none, and publishes no address for executors.")
    pod_ip: str = ""
    internal_api_port: _Port = 8080
    health_port: _Port = 8081
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    internal_api_token_file: Path
    execute_api_token_file: Path
    report_key_file: Path
    seccomp_profile: str = Field(default="", description="Below the kubelet's seccomp folder; empty: RuntimeDefault.")
    apparmor_profile: _AppArmor = Field(
        default="", description="Localhost/NAME or a type; empty: the runtime's choice."
    )
    metrics_namespaces: int = Field(default=DEFAULT_NAMESPACES, ge=0, le=10_000, description="Named in metrics.")
    secret_namespaces: str = Field(default="", description="Comma-separated; where secretKeyRef is allowed.")

    control_plane_url: _Url = Field(default="", description="May carry a path prefix; empty: none is told.")
    control_plane_token_file: Path | None = Field(default=None, validate_default=True)
    control_plane_ca_file: Path | None = Field(default=None, description="Trusted instead of the system's, for https.")

    otel_exporter_otlp_endpoint: _Url = Field(
        default="", description="Of an OpenTelemetry collector, without /v1/traces; empty: no traces."
    )

    output_object_bytes: int = Field(
        default=bounds.OUTPUT_OBJECT_BYTES,
        ge=1,
        le=bounds.MAX_OUTPUT_OBJECT_BYTES,
        description="Of one object in the object store; more of it is not kept.",
    )
    output_total_bytes: int = Field(
        default=bounds.OUTPUT_TOTAL_BYTES, ge=1, description="Of all objects of one execution."
    )
    output_retention_days: int = Field(
        default=0, ge=0, le=36_500, description="After which objects are deleted; 0: never by the controller."
    )

    @field_validator("control_plane_token_file")
    @classmethod
    def _token_for_a_url(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None and info.data.get("control_plane_url"):
            raise ValueError("CONTROL_PLANE_URL is set, so the file with its token must be named")
        return value

    @property
    def namespaces_with_secrets(self) -> frozenset[str]:
        """The namespaces in which an Execution may refer to Secrets."""
        return frozenset(name.strip() for name in self.secret_namespaces.split(",") if name.strip())


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: one line that names the variable, what is wrong and an example.
    """
    return read_environment(Settings, _EXAMPLES)


def read_environment(kind: type[_Settings], examples: Mapping[str, str]) -> _Settings:
    """Settings of any process of the operator; ``examples`` by variable.

    Raises:
        SettingsError: as ``load_settings``.
    """
    try:
        return kind()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper()
        problem = "is not set" if first["type"] == "missing" else f"is wrong: {first['msg']}"
        raise SettingsError(f"{name} {problem}; for example {name}={examples.get(name, '...')}") from None


class TokenFile:
    """A secret in a file, read again when the file changes, so that it can be rotated without a restart.

    The secret before that still counts for ``bounds.TOKEN_OVERLAP_S``, by the file's time and ``now`` (Unix seconds).
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._seen: tuple[int, int] | None = None
        self._value = ""
        self._previous = ""
        self._changed_at = 0.0

    def read(self) -> str:
        """The secret without surrounding white space.

        Raises:
            SettingsError: the file cannot be read or is empty. The text never holds the secret.
        """
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._seen:
                self._take(self._path.read_text().strip(), stat.st_mtime)
                self._seen = (stat.st_mtime_ns, stat.st_ino)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the secret file {self._path.name}: {type(error).__name__}") from None
        return self._value

    def read_previous(self) -> str | None:
        """The secret before the last rotation, for as long as somebody may not have the new one yet.

        Raises:
            SettingsError: as ``read``.
        """
        self.read()
        recent = abs(self._now() - self._changed_at) <= TOKEN_OVERLAP_S
        return self._previous if self._previous and recent else None

    def matches(self, presented: str) -> bool:
        """Whether somebody showed the secret, or the one before it while that counts; in constant time.

        Raises:
            SettingsError: as ``read``.
        """
        known = [self.read(), self.read_previous()]
        shown = presented.encode("utf-8", "replace")
        return any(hmac.compare_digest(value.encode(), shown) for value in known if value)

    def _take(self, value: str, changed_at: float) -> None:
        if not value:
            raise SettingsError(f"the secret file {self._path.name} is empty")
        if value != self._value:
            self._previous, self._changed_at = self._value, changed_at
        self._value = value
