"""Reads arms documents, evidence and what is remembered of drift, all when it begins to lead.

They lie beside their jobs and runs.
"""

from retune.decide.naming import (
    JOB_LABEL,
    KEPT_ARMS,
    KEPT_DRIFT,
    KEPT_EVIDENCE,
    KEPT_LABEL,
    RUN_LABEL,
    arms_name,
    drift_name,
    evidence_name,
)
from retune.kube.client import Client
from retune.observe.cache import Caches, Raw
from retune.observe.resync import PAGE

FEW = "10"  # in a page: what is remembered of drift may be a megabyte for each job
_LISTS = ((f"{KEPT_LABEL} in ({KEPT_ARMS},{KEPT_EVIDENCE})", PAGE), (f"{KEPT_LABEL}={KEPT_DRIFT}", FEW))


class Kept:
    """Fills `caches.documents`, `memories` and `drifts`. They are not watched: only the leader writes them.

    Args:
        caches: where they go.
        client: for the lists.
        namespaces: where to look; an empty string stands for the whole cluster.
    """

    def __init__(self, caches: Caches, client: Client, namespaces: tuple[str, ...]) -> None:
        self._caches, self._client, self._namespaces = caches, client, namespaces

    async def load(self) -> None:
        """Read them all; the evidence of runs that are over, or gone, is left where it is.

        Raises:
            ApiError: a list could not be had.
        """
        for namespace in self._namespaces:
            for selector, limit in _LISTS:
                query = {"limit": limit, "labelSelector": selector}
                while True:
                    page = await self._client.list_page("configmaps", namespace, query)
                    for raw in page.get("items") or []:
                        self._take(raw)
                    if not page["metadata"].get("continue"):
                        break
                    query["continue"] = page["metadata"]["continue"]

    def _take(self, raw: Raw) -> None:
        metadata = raw["metadata"]
        namespace, name, labels = metadata["namespace"], metadata["name"], metadata.get("labels") or {}
        controllers = {o["uid"] for o in metadata.get("ownerReferences") or [] if o.get("controller")}
        job, run = labels.get(JOB_LABEL, ""), labels.get(RUN_LABEL, "")
        its_job, its_run = self._caches.jobs.get(namespace, job), self._caches.runs.get(namespace, run)
        if its_job is not None and its_job.meta.uid in controllers and name == arms_name(job):
            self._caches.arms(namespace, job, raw)
        elif its_job is not None and its_job.meta.uid in controllers and name == drift_name(job):
            self._caches.drift(its_job.meta, raw)
        elif its_run is not None and its_run.meta.uid in controllers and name == evidence_name(run):
            self._caches.evidence(namespace, run, raw)
