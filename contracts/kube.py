"""The API group, its kinds, and the model base that all of our Kubernetes objects share."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP: Final = "sandbox-executor.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

EXECUTION_KIND: Final = "Execution"
EXECUTION_PLURAL: Final = "executions"
POOL_KIND: Final = "ExecutorPool"
POOL_PLURAL: Final = "executorpools"

DNS_NAME_LENGTH: Final = 253
DNS_NAME_PATTERN: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """``x-kubernetes-validations`` for a schema: pairs of a CEL rule and the message for who breaks it."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


class KubeModel(BaseModel):
    """Part of a Kubernetes object: camelCase outside, snake_case inside, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True)

    def to_kube(self) -> dict[str, Any]:
        """As the API server takes it: camelCase, without the fields that are not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


DnsName = Annotated[str, Field(pattern=DNS_NAME_PATTERN, min_length=1, max_length=DNS_NAME_LENGTH)]
KeyName = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=DNS_NAME_LENGTH)]
Timestamp = Annotated[datetime, Field(strict=False)]

_SUFFIX_BYTES: Final = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
QUANTITY_PATTERN: Final = r"^[0-9]{1,15}(k|M|G|T|Ki|Mi|Gi|Ti)?$"
_QUANTITY_RULE = cel(
    (f"self.matches('{QUANTITY_PATTERN}')", "write a whole number of bytes with a unit, for example 256Mi or 1Gi"),
)


def quantity_bytes(quantity: str) -> int:
    """Bytes of a Kubernetes quantity such as ``256Mi``.

    Raises:
        ValueError: it is not a whole number with one of the units above.
    """
    digits = quantity.rstrip("kKMGTi")
    factor = _SUFFIX_BYTES.get(quantity[len(digits) :])
    if factor is None or not digits.isascii() or not digits.isdigit():
        raise ValueError(f"{quantity!r} is not a size: write for example 256Mi or 1Gi")
    return int(digits) * factor


def _checked_quantity(value: str) -> str:
    quantity_bytes(value)
    return value


ByteQuantity = Annotated[str, Field(max_length=20, json_schema_extra=_QUANTITY_RULE), AfterValidator(_checked_quantity)]


class Condition(KubeModel):
    """One ``metav1.Condition``."""

    type: str = Field(max_length=316, description="What it speaks of; there is one of each.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether that is so.")
    reason: str = Field(max_length=1024, description="Stable, one word, CamelCase.")
    message: str = Field(default="", max_length=32_768, description="What happened, for a person.")
    last_transition_time: Timestamp = Field(description="When its status changed last.")
    observed_generation: int | None = Field(
        default=None, ge=0, description="The metadata.generation that it was judged by."
    )
