"""Where the demo happens: a namespace under the strictest Pod Security, and in it the keys of the store."""

import yaml
from hack.demo.kubectl import Kubectl
from hack.demo.settings import NAMESPACE, STORE


def prepare(kubectl: Kubectl) -> None:
    """Make the namespace and the Secret `store`, or bring them up to date."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    kubectl.apply(yaml.safe_load(STORE.read_text()))
