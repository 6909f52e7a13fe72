"""What the log API takes from its environment, checked before anything starts."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from contracts.kube import DnsName
from controller.settings import STORE_EXAMPLES, StoreSettings, read_environment

_Port = Annotated[int, Field(ge=1, le=65_535)]
_EXAMPLES: Final = {
    "OPERATOR_NAMESPACE": "sandbox-executor",
    "EXECUTE_API_TOKEN_FILE": "/var/run/secrets/sandbox-executor/execute-api-token",
    "TLS_CERTIFICATE_FILE": "/var/run/secrets/sandbox-executor-log-api/tls.crt",
    "TLS_KEY_FILE": "/var/run/secrets/sandbox-executor-log-api/tls.key",
    "PORT": "8443",
    "HEALTH_PORT": "8081",
    "MAX_STREAMS": "200",
    "MAX_STREAMS_PER_USER": "20",
    "LOG_LEVEL": "INFO",
    **STORE_EXAMPLES,
}


class Settings(StoreSettings):
    """The settings; each is an environment variable of the same name in upper case."""

    operator_namespace: DnsName = Field(description="Where the executors' pods are.")
    execute_api_token_file: Path
    tls_certificate_file: Path
    tls_key_file: Path
    port: _Port = 8443
    health_port: _Port = 8081
    max_streams: int = Field(default=200, ge=1, le=10_000, description="Answers that are sent at a time.")
    max_streams_per_user: int = Field(default=20, ge=1, le=10_000, description="Of them to one user.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: one line that names the variable, what is wrong and an example.
    """
    return read_environment(Settings, _EXAMPLES)
