"""Why an executor pod is to go, in a person's words.

Kubernetes marks a pod for deletion and does not say what for. What was known of its pool and of the pool's other
pods at that moment tells: who asks later finds a replacement that hides it.
"""

from collections.abc import Iterable

from controller.resources import Pod, Pool


def explain_departure(pod: Pod, others: Iterable[Pod], pool: Pool | None) -> str:
    """Why a pod of ``pool`` (None: there is none any more) has just been marked for deletion."""
    if pod.leaving:
        return pod.leaving
    if pool is None:
        return f"pool {pod.pool} was deleted"
    staying = [other for other in others if not other.deleting and not other.finished]
    if any(other.template != pod.template for other in staying):
        return f"a rollout of pool {pool.name} replaces it"
    if len(staying) >= pool.spec.replicas:
        return f"pool {pool.name} was scaled down to {pool.spec.replicas}"
    return "somebody deleted it"
