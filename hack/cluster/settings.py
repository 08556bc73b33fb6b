"""Where the local cluster keeps things, and the versions it is made of. Every tunable of hack/cluster stands here."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

CACHE = Path(
    os.environ.get("RETUNE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retune"
).absolute()
"""All state, outside the checkout. `clean` removes it, `down` only RUN."""

BIN = CACHE / "bin"
LOG = CACHE / "log"
RUN = CACHE / "run"
"""One cluster's life: keys, configuration, pid files, etcd's data. Gone with `down`."""
CONTAINERD = CACHE / "containerd"
"""containerd's images; they outlive the cluster, so that a second start imports nothing."""
BUILDAH = CACHE / "buildah"
KUBECONFIG = CACHE / "kubeconfig"
IMAGES_JSON = CACHE / "images.json"

KUBERNETES = "v1.37.0"
ETCD = "v3.7.0"
CONTAINERD_VERSION = "v2.4.2"
COREDNS = "v1.15.0"
HELM = "v4.3.1"
KIND = "v0.33.0"
GATEWAY_API = "v1.6.3"
TRAEFIK = "3.7.15"

NODE = "node0"
NETNS = "retune"
HOST_LINK = "retune0"
GATEWAY_IP = "10.250.0.1"
"""The host's end of the pair of links into the node's network namespace."""
NODE_IP = "10.250.0.2"
POD_NET = "10.244.0.0/24"
SERVICE_NET = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
CGROUP = "retune"
"""Parent of all pods' cgroups, so that `down` ends our containers and nobody else's."""

BASE_IMAGE = "python:3.13-slim"
"""What the Dockerfiles are built on; without Docker, an image of the same kind made by debootstrap stands for it."""
SUITE = "trixie"
IMAGE_PREFIX = "localhost/retune"

LOCAL_NAMESPACE = "retune-local"
OPERATOR_NAMESPACE = "retune-system"
NODE_PORTS = {"s3": 30333, "prometheus": 30909}
"""Ports on the node that reach hack/manifests' Services from outside; kind-config.yaml maps the same ones."""
