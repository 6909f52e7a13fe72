"""What the controller takes from its environment, checked before anything starts."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from controller.errors import SettingsError

_Name = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
_Port = Annotated[int, Field(ge=1, le=65_535)]

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
    "EXECUTOR_IMAGE_PULL_POLICY": "IfNotPresent",
}


class Settings(BaseSettings):
    """The controller's settings; each is an environment variable of the same name in upper case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    operator_namespace: _Name
    executor_image: Annotated[str, StringConstraints(min_length=1)]
    executor_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    executor_secret_name: _Name
    service_name: _Name
    internal_api_port: _Port = 8080
    health_port: _Port = 8081
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    internal_api_token_file: Path
    execute_api_token_file: Path
    report_key_file: Path
    seccomp_profile: str = Field(default="", description="Below the kubelet's seccomp folder; empty: RuntimeDefault.")
    secret_namespaces: str = Field(default="", description="Comma-separated; where secretKeyRef is allowed.")

    @property
    def namespaces_with_secrets(self) -> frozenset[str]:
        """The namespaces in which an Execution may refer to Secrets."""
        return frozenset(name.strip() for name in self.secret_namespaces.split(",") if name.strip())


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: one line that names the variable, what is wrong and an example.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper()
        problem = "is not set" if first["type"] == "missing" else f"is wrong: {first['msg']}"
        raise SettingsError(f"{name} {problem}; for example {name}={_EXAMPLES.get(name, '...')}") from None


class TokenFile:
    """A secret in a file, read again when the file changes, so that it can be rotated without a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._value = ""

    def read(self) -> str:
        """The secret without surrounding white space.

        Raises:
            SettingsError: the file cannot be read or is empty. The text never holds the secret.
        """
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._seen:
                self._value = self._path.read_text().strip()
                self._seen = (stat.st_mtime_ns, stat.st_ino)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the secret file {self._path.name}: {type(error).__name__}") from None
        if not self._value:
            raise SettingsError(f"the secret file {self._path.name} is empty")
        return self._value
