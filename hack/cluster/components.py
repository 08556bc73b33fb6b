"""Configuration files and command lines of the node's components, with the reason for what is not obvious."""

from hack.cluster.keys import CFG, PKI
from hack.cluster.settings import (
    CGROUP,
    CONTAINERD,
    NODE,
    NODE_IP,
    POD_NET,
    RUN,
    SERVICE_NET,
)

SOCKET = RUN / "containerd.sock"
PAUSE_IMAGE = "localhost/pause:dev"
CNI_NETWORK = "retune"
ETCD_ADDRESS = "http://127.0.0.1:2379"
PROXY_HEALTH = "http://127.0.0.1:10256/healthz"
DNS_HEALTH = "http://127.0.0.1:8181/ready"


def write() -> None:
    """Writes every component's configuration."""
    (CFG / "cni").mkdir(parents=True, exist_ok=True)
    for name, text in {
        "containerd.toml": containerd(),
        "containerd-sweep.toml": "disabled_plugins = ['io.containerd.grpc.v1.cri']\n" + containerd(),
        "cni/10-pods.conflist": cni(),
        "kubelet.yaml": kubelet(),
        "kube-proxy.yaml": kube_proxy(),
        "Corefile": corefile(),
    }.items():
        (CFG / name).write_text(text)


def containerd() -> str:
    """Its root lies outside RUN, so that images stay; everything else goes with the cluster."""
    return f"""version = 3
root = "{CONTAINERD}"
state = "{RUN}/containerd-state"
[grpc]
  address = "{SOCKET}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true         # a negative score needs CAP_SYS_RESOURCE, which a container of ours may lack
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      Root = "{RUN}/runc"
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{CFG}/cni"
"""


def cni() -> str:
    """Pods hang on one bridge; nothing is masqueraded, since nothing leaves the network namespace."""
    return f"""{{"cniVersion": "1.0.0", "name": "{CNI_NETWORK}", "plugins": [
  {{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {{"type": "host-local", "dataDir": "{RUN}/ipam", "ranges": [[{{"subnet": "{POD_NET}"}}]],
            "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}]}}
"""


def kubelet() -> str:
    """One node's kubelet on a machine of any kind: cgroup v1 or v2, swap or none, few capabilities."""
    return f"""apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {NODE_IP}
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {PKI}/ca.crt}}}}
authorization: {{mode: Webhook}}
tlsCertFile: {PKI}/kubelet.crt
tlsPrivateKeyFile: {PKI}/kubelet.key
containerRuntimeEndpoint: unix://{SOCKET}
cgroupDriver: cgroupfs
cgroupRoot: /{CGROUP}               # not the machine's root: `down` must find our pods, and only ours
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0                      # a negative value needs CAP_SYS_RESOURCE
clusterDNS: [{NODE_IP}]
clusterDomain: cluster.local
resolvConf: ""                      # pods get CoreDNS only, no upstream
makeIPTablesUtilChains: false       # leaves no chains behind
podLogsDir: {RUN}/pod-logs
volumePluginDir: {RUN}/volume-plugins
imageGCHighThresholdPercent: 100    # never: images cannot be pulled again
evictionHard: {{memory.available: 200Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}}
"""


def kube_proxy() -> str:
    """Services by iptables, inside the node's network namespace."""
    return f"""apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {{kubeconfig: {CFG}/kube-proxy.kubeconfig}}
clusterCIDR: {POD_NET}
hostnameOverride: {NODE}
bindAddress: {NODE_IP}
nodePortAddresses: [primary]        # node ports on {NODE_IP} only
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
oomScoreAdj: 0
iptables: {{localhostNodePorts: false}}   # no route_localnet, no chain left behind
conntrack: {{maxPerCore: 0}}              # leave the sysctl alone
"""


def corefile() -> str:
    """The cluster's names, and nothing of the world outside."""
    return f"""cluster.local in-addr.arpa {{
  bind {NODE_IP}
  errors
  ready 127.0.0.1:8181
  kubernetes {{
    kubeconfig {CFG}/admin.kubeconfig
  }}
}}
. {{
  # A block of its own: in the one above, template would answer before kubernetes.
  bind {NODE_IP}
  template ANY ANY . {{
    rcode NXDOMAIN
  }}
}}
"""


def etcd() -> list[str]:
    """Arguments of etcd. Data that dies with the cluster needs no fsync, and disks of small machines are slow at it."""
    return [
        f"--data-dir={RUN}/etcd",
        "--unsafe-no-fsync",
        "--listen-peer-urls=http://127.0.0.1:2380",
        f"--listen-client-urls={ETCD_ADDRESS}",
        f"--advertise-client-urls={ETCD_ADDRESS}",
    ]


def kube_apiserver() -> list[str]:
    """Arguments of the API server."""
    return [
        f"--etcd-servers={ETCD_ADDRESS}",
        f"--bind-address={NODE_IP}",
        f"--advertise-address={NODE_IP}",
        f"--service-cluster-ip-range={SERVICE_NET}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        f"--client-ca-file={PKI}/ca.crt",
        f"--tls-cert-file={PKI}/apiserver.crt",
        f"--tls-private-key-file={PKI}/apiserver.key",
        f"--kubelet-certificate-authority={PKI}/ca.crt",
        f"--kubelet-client-certificate={PKI}/apiserver-kubelet.crt",
        f"--kubelet-client-key={PKI}/apiserver-kubelet.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={PKI}/sa.pub",
        f"--service-account-signing-key-file={PKI}/sa.key",
    ]


def node() -> dict[str, list[str]]:
    """Arguments of what starts once the API server answers. With one of each there is no leader to elect."""
    return {
        "kube-controller-manager": [
            f"--kubeconfig={CFG}/kube-controller-manager.kubeconfig",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={PKI}/sa.key",
            f"--root-ca-file={PKI}/ca.crt",
            f"--cluster-signing-cert-file={PKI}/ca.crt",
            f"--cluster-signing-key-file={PKI}/ca.key",
        ],
        "kube-scheduler": [
            f"--kubeconfig={CFG}/kube-scheduler.kubeconfig",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ],
        "kubelet": [
            f"--config={CFG}/kubelet.yaml",
            f"--kubeconfig={CFG}/kubelet.kubeconfig",
            f"--root-dir={RUN}/kubelet",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_IP}",
        ],
        "kube-proxy": [f"--config={CFG}/kube-proxy.yaml"],
        "coredns": [f"-conf={CFG}/Corefile"],
    }
