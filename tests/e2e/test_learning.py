"""`tests/learning` in the trainer's own image, as a pod: tested with the very versions that users get."""

import io
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from hack.cluster import images

from tests.cluster.cluster import Cluster, eventually
from tests.e2e.conftest import Bucket

ROOT = Path(__file__).resolve().parents[2]
# The image has no test runner; these are pure Python, and pytest needs no more.
RUNNER = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
LONG = 1800.0
BEGIN = """
import io, os, subprocess, sys, zipfile
import boto3
from urllib.parse import urlsplit
where = urlsplit(os.environ["TESTS"])
body = boto3.client("s3").get_object(Bucket=where.netloc, Key=where.path.lstrip("/"))["Body"].read()
zipfile.ZipFile(io.BytesIO(body)).extractall("/work/tests")
os.environ["PYTHONPATH"] = "/opt/app:/work/tests"
for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
    del os.environ[name]
command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", "tests/learning"]
sys.exit(subprocess.run(command, cwd="/work/tests").returncode)
"""


def packed() -> bytes:
    """The tests and their runner."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tests/__init__.py", "")
        for path in sorted((ROOT / "tests/learning").glob("*.py")):
            archive.write(path, f"tests/learning/{path.name}")
        for name in RUNNER:
            for file in distribution(name).files or []:
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    archive.write(str(file.locate()), str(file))
    return buffer.getvalue()


def test_learning_is_correct_in_the_image_that_trains(
    cluster: Cluster, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = f"s3://models/e2e/{cluster.namespace}/learning.zip"
    bucket.put(tests, packed())
    container = {
        "name": "tests",
        "image": images.noted()["trainer"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", BEGIN],
        "workingDir": "/work",
        "env": [
            {"name": "TESTS", "value": tests},
            {"name": "OMP_NUM_THREADS", "value": "2"},
            {"name": "OMP_WAIT_POLICY", "value": "PASSIVE"},
        ],
        "envFrom": [{"secretRef": {"name": "store"}}],
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "6Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "work", "mountPath": "/work"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "restartPolicy": "Never",
        "securityContext": {"fsGroup": 65532},
        "containers": [container],
        "volumes": [{"name": "work", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    cluster.core.create_namespaced_pod(cluster.namespace, {"metadata": {"name": "learning"}, "spec": spec})

    def over() -> str:
        phase = cluster.core.read_namespaced_pod("learning", cluster.namespace).status.phase
        return phase if phase in ("Succeeded", "Failed") else ""

    phase = eventually(over, LONG)
    log = str(cluster.core.read_namespaced_pod_log("learning", cluster.namespace))
    assert phase == "Succeeded", log[-6000:]
    assert " passed" in log
    with capsys.disabled():  # what needs a GPU was skipped in there, and whoever reads this log must see it
        for line in log.splitlines():
            if line.startswith("SKIPPED") or " passed" in line:
                print(f"  in the trainer's image: {line}")
