"""The cluster's certificates and kubeconfigs: one authority per cluster, thrown away with it."""

import base64
from pathlib import Path

from hack.cluster.process import output
from hack.cluster.settings import API_SERVICE_IP, KUBECONFIG, NODE, NODE_IP, RUN

PKI = RUN / "pki"
CFG = RUN / "cfg"
COMPONENTS = ("kube-controller-manager", "kube-scheduler", "kube-proxy")
SERVER = f"https://{NODE_IP}:6443"


def create() -> None:
    """Makes all keys, certificates and the components' kubeconfigs."""
    PKI.mkdir(parents=True, exist_ok=True)
    CFG.mkdir(parents=True, exist_ok=True)
    PKI.chmod(0o700)
    _key("ca")
    authority = ["-subj", "/CN=retune-local", "-days", "365", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    output(["openssl", "req", "-x509", "-new", "-key", PKI / "ca.key", *authority, "-out", PKI / "ca.crt"])
    output(["openssl", "genrsa", "-out", PKI / "sa.key", "2048"])
    output(["openssl", "rsa", "-in", PKI / "sa.key", "-pubout", "-out", PKI / "sa.pub"])
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    api_names = [f"IP:{NODE_IP}", f"IP:{API_SERVICE_IP}", *(f"DNS:{name}" for name in names)]
    _certificate("apiserver", "/CN=kube-apiserver", ",".join(api_names))
    _certificate("apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet")
    _certificate("kubelet", f"/O=system:nodes/CN=system:node:{NODE}", f"IP:{NODE_IP},DNS:{NODE}")
    _certificate("admin", "/O=system:masters/CN=admin")
    for name in COMPONENTS:
        _certificate(name, f"/CN=system:{name}")
    for name in ("admin", "kubelet", *COMPONENTS):
        _write(CFG / f"{name}.kubeconfig", _kubeconfig(name))
    _write(KUBECONFIG, _kubeconfig("admin"))


def _key(name: str) -> None:
    output(["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", PKI / f"{name}.key"])


def _certificate(name: str, subject: str, alternatives: str = "") -> None:
    _key(name)
    extensions = PKI / f"{name}.ext"
    extensions.write_text(
        "extendedKeyUsage=serverAuth,clientAuth\n" + (f"subjectAltName={alternatives}\n" if alternatives else "")
    )
    request = output(["openssl", "req", "-new", "-key", PKI / f"{name}.key", "-subj", subject])
    signing: list[str | Path] = ["-CA", PKI / "ca.crt", "-CAkey", PKI / "ca.key", "-CAcreateserial", "-days", "365"]
    output(
        ["openssl", "x509", "-req", *signing, "-out", PKI / f"{name}.crt", "-extfile", extensions],
        stdin=request,
    )


def _kubeconfig(name: str) -> str:
    def data(file: str) -> str:
        return base64.b64encode((PKI / file).read_bytes()).decode()

    return f"""apiVersion: v1
kind: Config
clusters:
- name: retune-local
  cluster: {{server: "{SERVER}", certificate-authority-data: {data("ca.crt")}}}
users:
- name: {name}
  user: {{client-certificate-data: {data(f"{name}.crt")}, client-key-data: {data(f"{name}.key")}}}
contexts:
- name: retune-local
  context: {{cluster: retune-local, user: {name}}}
current-context: retune-local
"""


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
