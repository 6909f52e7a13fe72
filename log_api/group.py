"""The names of the API group, and the paths under which the API server asks for it."""

from typing import Final

from contracts.kube import EXECUTION_KIND, EXECUTION_PLURAL
from contracts.kube import GROUP as CRD_GROUP
from contracts.kube import VERSION as CRD_VERSION

GROUP: Final = f"subresources.{CRD_GROUP}"
VERSION: Final = CRD_VERSION
GROUP_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = EXECUTION_KIND
RESOURCE: Final = EXECUTION_PLURAL
LOG: Final = "log"
OUTPUTS: Final = "outputs"
SUBRESOURCES: Final = (LOG, OUTPUTS)
OUTPUTS_KIND: Final = "ExecutionOutputs"
VERB: Final = "get"

GROUP_PATH: Final = f"/apis/{GROUP}"
VERSION_PATH: Final = f"{GROUP_PATH}/{VERSION}"
LOG_PATH: Final = f"{VERSION_PATH}/namespaces/{{namespace}}/{RESOURCE}/{{name}}/{LOG}"
OUTPUTS_PATH: Final = f"{VERSION_PATH}/namespaces/{{namespace}}/{RESOURCE}/{{name}}/{OUTPUTS}"
