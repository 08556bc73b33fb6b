"""The backend for a cluster that the user brings, with KUBECONFIG and RETUNE_USE_KUBECONFIG=1."""

import os
from pathlib import Path

from hack.cluster import binaries
from hack.cluster.process import ClusterError, output, succeeds
from hack.cluster.progress import say


class ExistingCluster:
    """A cluster that is not ours."""

    name = "existing"

    def __init__(self) -> None:
        path = os.environ.get("KUBECONFIG", "")
        if not path or not Path(path).is_file():
            raise ClusterError("RETUNE_USE_KUBECONFIG=1 needs KUBECONFIG, the path of one kubeconfig file")
        self.kubeconfig = Path(path)

    def up(self) -> None:
        """Checks that it answers."""
        if not self.healthy():
            raise ClusterError(f"the cluster of {self.kubeconfig} does not answer")
        say(f"using the cluster of {self.kubeconfig}")

    def down(self) -> None:
        """Leaves it alone."""
        say("the cluster is yours: left as it is")

    def clean(self) -> None:
        """Leaves it alone."""

    def healthy(self) -> bool:
        """Whether its API server says that it is ready."""
        return succeeds([binaries.path("kubectl"), "--kubeconfig", self.kubeconfig, "get", "--raw", "/readyz"])

    def node_address(self) -> str:
        """The first node's internal address; it must be reachable from this machine."""
        path = '{.items[0].status.addresses[?(@.type=="InternalIP")].address}'
        kubectl: list[str | Path] = [binaries.path("kubectl"), "--kubeconfig", self.kubeconfig]
        return output([*kubectl, "get", "nodes", "-o", f"jsonpath={path}"]).strip()
