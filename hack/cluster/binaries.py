"""The programs of the cluster, built from Go modules at pinned versions, once."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from hack.cluster.process import ClusterError, logged
from hack.cluster.progress import step
from hack.cluster.settings import BIN, CONTAINERD_VERSION, COREDNS, ETCD, HELM, KIND, KUBERNETES, LOG

MODULE = Path(__file__).resolve().parents[1] / "kubernetes"
"""go.mod of all that cannot be had with `go install program@version`."""
STAMP = "k8s.io/component-base/version"
# Without these, clients see a server of version v0.0.0 and refuse some requests.
LDFLAGS = f"-s -w -X {STAMP}.gitVersion={KUBERNETES} -X {STAMP}.gitMajor=1 -X {STAMP}.gitMinor=37"


@dataclass(frozen=True)
class Program:
    """A Go program: where its source is, and how many seconds a first build takes on two cores."""

    package: str
    version: str
    about: int
    in_module: bool = False


def _kubernetes(name: str, about: int) -> Program:
    return Program(f"k8s.io/kubernetes/cmd/{name}", KUBERNETES, about, in_module=True)


_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
PROGRAMS = {
    "etcd": Program("go.etcd.io/etcd/server/v3", ETCD, 60, in_module=True),
    "kube-apiserver": _kubernetes("kube-apiserver", 180),
    "kubectl": _kubernetes("kubectl", 40),
    "kube-controller-manager": _kubernetes("kube-controller-manager", 60),
    "kube-scheduler": _kubernetes("kube-scheduler", 15),
    "kubelet": _kubernetes("kubelet", 60),
    "kube-proxy": _kubernetes("kube-proxy", 15),
    "containerd": Program(f"{_CONTAINERD}/containerd", CONTAINERD_VERSION, 60),
    "containerd-shim-runc-v2": Program(f"{_CONTAINERD}/containerd-shim-runc-v2", CONTAINERD_VERSION, 10),
    "ctr": Program(f"{_CONTAINERD}/ctr", CONTAINERD_VERSION, 20),
    "coredns": Program("github.com/coredns/coredns", COREDNS, 120),
    "helm": Program("helm.sh/helm/v4/cmd/helm", HELM, 60),
    "kind": Program("sigs.k8s.io/kind", KIND, 30),
}
"""In the order in which they are needed."""
NODE = tuple(name for name in PROGRAMS if name not in {"helm", "kind"})


def path(name: str) -> Path:
    """Where a program is: in RETUNE_ASSETS, a folder of one's own builds, or else in the cache, built when needed."""
    own = Path(os.environ.get("RETUNE_ASSETS") or os.devnull) / name
    if own.is_file():
        return own
    built = BIN / name
    if not _current(name):
        _build(name, built)
    return built


def _stamp(name: str) -> Path:
    return BIN / f".{name}.version"


def _current(name: str) -> bool:
    stamp = _stamp(name)
    return (BIN / name).is_file() and stamp.is_file() and stamp.read_text().strip() == PROGRAMS[name].version


def _build(name: str, target: Path) -> None:
    if not shutil.which("go"):
        raise ClusterError(f"{name} is built with Go 1.26 or later, and there is no `go` on the PATH")
    program = PROGRAMS[name]
    work = BIN / f".{name}.build"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    log = LOG / f"build-{name}.log"
    environment = {"CGO_ENABLED": "0", "GOBIN": str(work)}
    with step(f"building {name} {program.version}", about=program.about):
        if program.in_module:
            build = ["go", "build", "-C", str(MODULE), "-trimpath", "-buildvcs=false", "-ldflags", LDFLAGS]
            logged([*build, "-o", str(work / name), program.package], log, env=environment)
        else:
            reference = f"{program.package}@{program.version}"
            logged(["go", "install", "-trimpath", "-ldflags", "-s -w", reference], log, env=environment)
        # Renamed only when complete: an interrupted build leaves nothing that looks like a program.
        _stamp(name).unlink(missing_ok=True)
        (work / name).replace(target)
        _stamp(name).write_text(program.version + "\n")
        shutil.rmtree(work)
