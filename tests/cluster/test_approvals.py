"""Sign-offs on a run: who can give and withdraw them, and every way around that a writer of runs might try.

Users are impersonated, and have only the rights that the chart and docs/approvals.md give. Alice and carol may sign
`legal`; bob and mallory may edit.
"""

import copy
import json
import re
import subprocess

import pytest

import kubernetes
from tests.cluster.apiserver import CHECKOUT, ApiServer
from tests.cluster.cluster import CHECKED, GROUP, VERSION, Cluster, Kubelet, Raw, condition, eventually, spec
from tests.cluster.conftest import SYSTEM

LEGAL, PRIVACY = "approval.retune.dev/legal", "approval.retune.dev/privacy"
GROUPS = {"alice": "legal-team", "carol": "legal-team"}
OPERATOR = f"system:serviceaccount:{SYSTEM}:retune"
POLICY = f"retune-approvals.{SYSTEM}"
MOST_ANNOTATIONS = 256
NOT_YOU = "Sign with your own user name"
RBAC = "rbac.authorization.k8s.io"
Done = subprocess.CompletedProcess[str]


def documented(name: str, namespace: str) -> str:
    """The manifests marked `name` in docs/approvals.md, for another namespace than theirs."""
    text = (CHECKOUT / "docs/approvals.md").read_text()
    found = re.search(rf"<!-- test: {name} -->\n```yaml\n(.*?)```", text, re.DOTALL)
    assert found, name
    return found[1].replace("namespace: team", f"namespace: {namespace}")


def ok(done: Done) -> str:
    """What kubectl printed; it must have succeeded."""
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(done: Done, *words: str) -> None:
    """The policy, not RBAC or the schema, must have said no, with these words."""
    assert done.returncode != 0, done.stdout
    assert f"ValidatingAdmissionPolicy '{POLICY}'" in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr


class Team:
    """A namespace with one run in it."""

    def __init__(self, server: ApiServer, cluster: Cluster, run: str) -> None:
        self.server, self.cluster, self.run, self.namespace = server, cluster, run, cluster.namespace
        self.rbac = kubernetes.client.RbacAuthorizationV1Api(cluster.api)

    def kubectl(self, user: str, *arguments: str, body: Raw | None = None) -> Done:
        """Run kubectl as a user."""
        groups = [f"--as-group={GROUPS[user]}"] if user in GROUPS else []
        stdin = json.dumps(body) if body else None
        return self.server.run(*arguments, f"--as={user}", *groups, "-n", self.namespace, stdin=stdin)

    def annotate(self, user: str, *pairs: str) -> Done:
        """Annotate the run as a user."""
        return self.kubectl(user, "annotate", "--overwrite", "finetunerun", self.run, *pairs)

    def patch(self, user: str, body: object, *flags: str) -> Done:
        """Patch the run as a user."""
        return self.kubectl(user, "patch", "finetunerun", self.run, "-p", json.dumps(body), *flags)

    def apply(self, user: str, annotations: Raw, *flags: str, name: str = "") -> Done:
        """Server-side apply of nothing but annotations as a user."""
        metadata = {"name": name or self.run, "namespace": self.namespace, "annotations": annotations}
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "FineTuneRun", "metadata": metadata}
        return self.kubectl(user, "apply", "--server-side", "--force-conflicts", *flags, "-f", "-", body=body)

    def can(self, user: str, *what: str) -> bool:
        """Whether a user has a right."""
        return self.kubectl(user, "auth", "can-i", *what).stdout.strip() == "yes"

    def grant(self, user: str, rule: Raw) -> None:
        """Give a user one more right in this namespace; returns when it holds."""
        name = "-".join((user, *rule["verbs"], *rule.get("resourceNames", [])))
        self.rbac.create_namespaced_role(self.namespace, {"metadata": {"name": name}, "rules": [rule]})
        self.bind("Role", name, user)
        resource = ".".join((rule["resources"][0].split("/")[0], *rule["apiGroups"]))
        subresource = [f"--subresource={s}" for s in rule["resources"][0].split("/")[1:]]
        what = "/".join((resource, *rule.get("resourceNames", [])))
        eventually(lambda: self.can(user, rule["verbs"][0], what, *subresource))

    def bind(self, kind: str, role: str, *users: str) -> None:
        """Bind a Role or ClusterRole to users in this namespace."""
        subjects = [{"apiGroup": RBAC, "kind": "User", "name": user} for user in users]
        ref = {"apiGroup": RBAC, "kind": kind, "name": role}
        body = {"metadata": {"name": role}, "roleRef": ref, "subjects": subjects}
        self.rbac.create_namespaced_role_binding(self.namespace, body)

    def read(self) -> Raw:
        """The run."""
        found = self.cluster.run(self.run)
        assert found is not None
        return found

    def signatures(self) -> Raw:
        """The run's sign-offs."""
        annotations = self.read()["metadata"].get("annotations", {})
        return {key: by for key, by in annotations.items() if key.startswith("approval.retune.dev/")}

    def another(self, annotations: Raw) -> Raw:
        """A new run like the one that is there, as somebody would create it."""
        found = self.read()
        metadata = {"name": "another", "namespace": self.namespace, "annotations": annotations}
        return {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": metadata, "spec": found["spec"]}


def runs(*verbs: str, resource: str = "finetuneruns", **more: list[str]) -> Raw:
    """A rule about runs."""
    return {"apiGroups": [GROUP], "resources": [resource], "verbs": list(verbs), **more}


@pytest.fixture
def team(apiserver: ApiServer, cluster: Cluster) -> Team:
    """A namespace with a run, once rights and policy have reached the API server's caches."""
    cluster.apply_job("job", spec())
    made = Team(apiserver, cluster, cluster.first_run("job"))
    ok(apiserver.run("apply", "-f", "-", stdin=documented("signers", made.namespace)))
    made.bind("ClusterRole", "edit", "bob", "mallory")
    eventually(lambda: made.can("mallory", "patch", "finetuneruns.retune.dev"))
    eventually(lambda: made.can("alice", "approve", "finetuneruns.retune.dev/legal"))

    def active() -> bool:
        forged = made.annotate("mallory", f"{LEGAL}=nobody", "--dry-run=server")
        return f"'{POLICY}'" in forged.stderr

    eventually(active)
    return made


@pytest.fixture
def signed(team: Team) -> Team:
    """The same with alice's signature."""
    ok(team.annotate("alice", f"{LEGAL}=alice"))
    return team


# ------------------------------------------------------------------------------------------------------- signing


def test_whoever_has_the_right_signs_in_their_own_name(team: Team) -> None:
    me = ok(team.kubectl("alice", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"))
    ok(team.annotate("alice", f"{LEGAL}={me}"))
    assert team.signatures() == {LEGAL: "alice"}


def test_nobody_signs_in_another_name_even_with_the_right(team: Team) -> None:
    refused(team.annotate("alice", f"{LEGAL}=bob"), f"metadata.annotations[{LEGAL}]", '"bob" is not you', '"alice"')
    refused(team.annotate("alice", f"{LEGAL}="), NOT_YOU)
    refused(team.annotate("alice", f"{LEGAL}=Alice"), NOT_YOU)
    assert team.signatures() == {}


def test_a_refused_name_with_a_line_break_still_gets_an_answer(team: Team) -> None:
    refused(team.annotate("alice", f"{LEGAL}=ali\nce"), "your own user name")


def test_an_editor_cannot_sign_and_is_told_which_right_is_missing(team: Team) -> None:
    needed = "the verb approve on finetuneruns (group retune.dev) with the resource name legal in namespace "
    refused(
        team.annotate("bob", f"{LEGAL}=bob"),
        f"metadata.annotations[{LEGAL}]",
        '"bob" may not sign it',
        needed + team.namespace,
    )


def test_the_right_for_one_approval_is_not_the_right_for_another(team: Team) -> None:
    refused(team.annotate("alice", f"{PRIVACY}=alice"), "resource name privacy")
    refused(team.annotate("alice", "approval.retune.dev/Legal=alice"), "resource name Legal")


def test_a_right_in_one_namespace_is_none_in_the_next(team: Team, cluster: Cluster) -> None:
    ok(team.kubectl("alice", "annotate", "finetunerun", team.run, f"{LEGAL}=alice", "--dry-run=server"))
    elsewhere = f"{team.namespace}-next"
    core = kubernetes.client.CoreV1Api(cluster.api)
    core.create_namespace({"metadata": {"name": elsewhere}})
    body = team.another({LEGAL: "alice"})
    body["metadata"]["namespace"] = elsewhere
    next_team = Team(team.server, Cluster(cluster.api, elsewhere), "another")
    try:
        next_team.grant("alice", runs("create"))
        refused(next_team.kubectl("alice", "create", "-f", "-", body=body), f"in namespace {elsewhere}")
    finally:
        core.delete_namespace(elsewhere)


def test_an_administrator_of_the_namespace_cannot_grant_the_right_to_sign(team: Team) -> None:
    team.bind("ClusterRole", "admin", "dave")
    eventually(lambda: team.can("dave", "create", "roles.rbac.authorization.k8s.io"))
    refused(team.annotate("dave", f"{LEGAL}=dave"), '"dave" may not sign it')
    metadata = {"name": "mine", "namespace": team.namespace}
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": [runs("approve")]}
    tried = team.kubectl("dave", "create", "-f", "-", body=role)
    assert "attempting to grant RBAC permissions not currently held" in tried.stderr
    tried = team.kubectl("dave", "create", "rolebinding", "mine", "--role=sign-legal", "--user=dave")
    assert "attempting to grant RBAC permissions not currently held" in tried.stderr


def test_the_operators_account_cannot_sign_the_runs_that_it_creates(team: Team) -> None:
    for name in ("alice", OPERATOR):
        refused(team.kubectl(OPERATOR, "create", "-f", "-", body=team.another({LEGAL: name})), LEGAL)
    assert team.annotate(OPERATOR, f"{LEGAL}={OPERATOR}").returncode != 0
    assert team.signatures() == {}


@pytest.mark.parametrize("how", ["create", "apply"])
def test_a_run_cannot_be_created_with_a_forged_signature(team: Team, how: str) -> None:
    team.grant("mallory", runs("create"))
    flags = ["--server-side"] if how == "apply" else []
    for name in ("alice", "mallory"):
        refused(team.kubectl("mallory", how, *flags, "-f", "-", body=team.another({LEGAL: name})), LEGAL)
    ok(team.kubectl("mallory", how, *flags, "--dry-run=server", "-f", "-", body=team.another({"note": "free"})))


def test_several_at_once_are_refused_with_the_cure(team: Team) -> None:
    team.grant("alice", runs("approve", resourceNames=["privacy"]))
    refused(team.annotate("alice", f"{LEGAL}=alice", f"{PRIVACY}=alice"), "2 approvals", "one at a time")
    ok(team.annotate("alice", f"{LEGAL}=alice"))
    refused(team.annotate("alice", f"{LEGAL}-", f"{PRIVACY}=alice"), "one at a time")
    ok(team.annotate("alice", f"{PRIVACY}=alice"))
    assert team.signatures() == {LEGAL: "alice", PRIVACY: "alice"}


# ------------------------------------------------------------------------------------------------- ways to write


WRITES = ["merge", "json", "apply", "replace", "metadata-only"]


def write(team: Team, user: str, how: str, value: str | None) -> Done:
    """Set the annotation `legal` of the run, or remove it (None), in one of the API server's ways."""
    current = team.read()
    annotations = {k: v for k, v in current["metadata"].get("annotations", {}).items() if k != LEGAL}
    if value is not None:
        annotations[LEGAL] = value
    if how == "merge":
        return team.patch(user, {"metadata": {"annotations": {LEGAL: value}}}, "--type=merge")
    if how == "json":
        return team.patch(user, [{"op": "add", "path": "/metadata/annotations", "value": annotations}], "--type=json")
    if how == "apply":  # all by one field manager: what it leaves out is removed
        return team.apply(user, {} if value is None else {LEGAL: value}, "--field-manager=same")
    if how == "replace":
        current["metadata"]["annotations"] = annotations
        return team.kubectl(user, "replace", "-f", "-", body=current)
    assert how == "metadata-only"
    return metadata_patch(team, user, {"metadata": {"annotations": {LEGAL: value}}})


def metadata_patch(team: Team, user: str, body: Raw) -> Done:
    """What a client that knows nothing but metadata sends."""
    headers = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", "Impersonate-User": user}
    if user in GROUPS:
        headers["Impersonate-Group"] = GROUPS[user]
    try:
        found: Raw = team.cluster.custom.patch_namespaced_custom_object(
            GROUP,
            VERSION,
            team.namespace,
            "finetuneruns",
            team.run,
            body,
            _content_type="application/merge-patch+json",
            _headers=headers,
        )
    except kubernetes.client.ApiException as error:
        return subprocess.CompletedProcess([], 1, "", json.loads(error.body or "{}")["message"])
    assert found["kind"] == "PartialObjectMetadata"
    return subprocess.CompletedProcess([], 0, json.dumps(found), "")


@pytest.mark.parametrize("how", WRITES)
def test_every_way_to_write_asks_for_the_right_to_sign_and_to_withdraw(team: Team, how: str) -> None:
    team.grant("alice", runs("update"))  # for replace
    refused(write(team, "mallory", how, "alice"), NOT_YOU)
    refused(write(team, "mallory", how, "mallory"), "may not sign it")
    ok(write(team, "alice", how, "alice"))
    refused(write(team, "mallory", how, "mallory"), "may not sign it")
    refused(write(team, "mallory", how, None), 'signed by "alice"', '"mallory" may not withdraw it', "legal")
    assert team.signatures() == {LEGAL: "alice"}
    ok(write(team, "alice", how, None))
    assert team.signatures() == {}
    ok(write(team, "alice", how, "alice"))


@pytest.mark.parametrize("how", ["merge", "json", "apply", "replace"])
def test_the_status_subresource_is_no_way_to_signatures(signed: Team, how: str) -> None:
    for verb in ("get", "update", "patch"):
        signed.grant("mallory", runs(verb, resource="finetuneruns/status"))
    before = signed.read()
    new = {LEGAL: "mallory", PRIVACY: "mallory", "retune.dev/cancel": "now"}
    status, path = "--subresource=status", "/metadata/annotations"
    if how == "merge":
        done = signed.patch("mallory", {"metadata": {"annotations": new}}, "--type=merge", status)
    elif how == "json":
        done = signed.patch("mallory", [{"op": "replace", "path": path, "value": new}], "--type=json", status)
    elif how == "apply":
        done = signed.apply("mallory", new, status)
    else:
        body = copy.deepcopy(before)
        body["metadata"]["annotations"] = new
        done = signed.kubectl("mallory", "replace", status, "-f", "-", body=body)
    ok(done)
    assert signed.read()["metadata"]["annotations"] == before["metadata"]["annotations"]


def test_applying_to_the_status_of_a_run_that_is_not_there_creates_none(team: Team) -> None:
    team.grant("mallory", runs("create"))
    team.grant("mallory", runs("patch", resource="finetuneruns/status"))
    done = team.apply("mallory", {LEGAL: "alice"}, "--subresource=status", name="another")
    assert "not found" in done.stderr
    assert team.cluster.run("another") is None


def test_the_list_of_field_managers_moves_no_signature(signed: Team) -> None:
    mine: Raw = {"f:metadata": {"f:annotations": {".": {}, f"f:{LEGAL}": {}}}}
    entry = {"manager": "mallory", "operation": "Apply", "apiVersion": f"{GROUP}/{VERSION}"}
    nobodys: list[Raw] = [{}]  # the API server's way to clear the list
    hers: list[Raw] = [{**entry, "fieldsType": "FieldsV1", "fieldsV1": mine}]
    for managers in (nobodys, hers):
        body = signed.read()
        body["metadata"]["managedFields"] = managers
        ok(signed.kubectl("mallory", "replace", "-f", "-", body=body))
        assert signed.signatures() == {LEGAL: "alice"}
    refused(signed.apply("mallory", {}, "--field-manager=mallory"), "may not withdraw it")
    assert signed.signatures() == {LEGAL: "alice"}


# --------------------------------------------------------------------------------------------------- withdrawing


def test_who_signed_may_withdraw_even_without_the_right_to_sign(team: Team) -> None:
    team.grant("bob", runs("approve", resourceNames=["legal"]))
    ok(team.annotate("bob", f"{LEGAL}=bob"))
    team.rbac.delete_namespaced_role_binding("bob-approve-legal", team.namespace)
    eventually(lambda: not team.can("bob", "approve", "finetuneruns.retune.dev/legal"))
    ok(team.annotate("bob", f"{LEGAL}-"))
    refused(team.annotate("bob", f"{LEGAL}=bob"), "may not sign it")
    assert team.signatures() == {}


def test_who_may_sign_may_take_over_or_withdraw_a_colleagues_signature(signed: Team) -> None:
    ok(signed.annotate("carol", f"{LEGAL}=carol"))
    assert signed.signatures() == {LEGAL: "carol"}
    refused(signed.annotate("carol", f"{LEGAL}=alice"), NOT_YOU)
    ok(signed.annotate("alice", f"{LEGAL}-"))
    assert signed.signatures() == {}


# ------------------------------------------------------------------------------------------ what stays as it was


def test_whoever_may_edit_annotates_signed_and_unsigned_runs_as_before(team: Team) -> None:
    ok(team.annotate("mallory", "note=1", "approval.example.com/legal=anybody"))
    ok(team.annotate("alice", f"{LEGAL}=alice"))
    ok(team.annotate("mallory", "note=2", "retune.dev/cancel=now"))
    ok(team.annotate("mallory", "note-"))
    assert team.read()["metadata"]["annotations"]["retune.dev/cancel"] == "now"
    ok(team.kubectl("mallory", "label", "finetunerun", team.run, "a=b"))
    ok(team.kubectl("mallory", "annotate", "finetunejob", "job", f"{LEGAL}=free"))  # means nothing on a job


def test_a_run_full_of_annotations_is_still_judged_and_takes_no_more(team: Team) -> None:
    """The policy goes through all of them: what that costs must stay below what CEL may spend."""
    free = MOST_ANNOTATIONS - len(team.read()["metadata"].get("annotations", {})) - 1
    many = {f"{i:03}.example.com/{'n' * 60}": "v" * 900 for i in range(free)}  # nearly all the bytes that there may be
    ok(metadata_patch(team, "mallory", {"metadata": {"annotations": many}}))
    refused(team.annotate("mallory", f"{LEGAL}=alice"), NOT_YOU)
    refused(team.annotate("mallory", f"{LEGAL}=mallory"), "may not sign it")
    ok(team.annotate("alice", f"{LEGAL}=alice"))
    refused(team.annotate("mallory", f"{LEGAL}-"), "may not withdraw it")
    refused(team.annotate("mallory", "one-more=1"), f"at most {MOST_ANNOTATIONS}", "remove some")
    refused(team.annotate("mallory", "one-more=1", f"{LEGAL}-", "and-another=1"), f"at most {MOST_ANNOTATIONS}")
    ok(team.annotate("alice", f"{LEGAL}-"))


def test_a_request_full_of_signatures_gets_a_clear_answer(team: Team) -> None:
    many = {f"approval.retune.dev/{i:03}{'n' * 60}": "alice" for i in range(MOST_ANNOTATIONS)}
    refused(team.patch("alice", {"metadata": {"annotations": many}}, "--type=merge"), f"{len(many)} approvals")
    refused(team.patch("alice", {"metadata": {"annotations": {**many, "x": ""}}}, "--type=merge"), "remove some")


# ------------------------------------------------------------------------------------------------- the operator


def test_a_run_waits_for_the_signature_and_goes_on_with_it(team: Team, kubelet: Kubelet) -> None:
    off: Raw = {gate: {"mode": "Off"} for gate in ("data", "leakage", "privacy", "baseline")}
    team.cluster.apply_job("asks", spec(gates={**off, "approvals": {"required": [{"name": "legal"}]}}))
    team.run = team.cluster.first_run("asks")
    kubelet.ended(team.cluster.pod(team.run, "preflight-1"), 0, CHECKED)
    said = condition(team.cluster.phase(team.run, "AwaitingApproval"), "GatesPassed")
    assert (said["status"], said["reason"]) == ("Unknown", "AwaitingApproval")
    assert "legal" in said["message"]
    refused(team.annotate("mallory", f"{LEGAL}=alice"), NOT_YOU)
    assert set(team.cluster.jobs(team.run)) == {"preflight-1"}
    ok(team.annotate("alice", f"{LEGAL}=alice"))
    team.cluster.pod(team.run, "train-1")
    given = team.read()["status"]["approvals"]
    assert [(a["name"], a["by"]) for a in given] == [("legal", "alice")]


# ---------------------------------------------------------------------------------------------------- the chart


def test_the_api_server_finds_no_fault_in_the_policys_types(apiserver: ApiServer, team: Team) -> None:
    def checked() -> Raw:
        found: Raw = json.loads(ok(apiserver.run("get", "validatingadmissionpolicy", POLICY, "-o", "json")))
        assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
        return found

    assert eventually(checked)["status"]["typeChecking"] == {}


def test_edit_writes_jobs_and_annotates_runs_and_view_reads_both(team: Team) -> None:
    team.bind("ClusterRole", "view", "vera")
    team.bind("ClusterRole", "admin", "dave")
    eventually(lambda: team.can("vera", "get", "finetuneruns.retune.dev"))
    eventually(lambda: team.can("dave", "patch", "finetuneruns.retune.dev"))
    jobs, run = "finetunejobs.retune.dev", "finetuneruns.retune.dev"
    allowed = {
        user: {
            (verb, kind)
            for verb in ("get", "create", "patch", "delete")
            for kind in (jobs, run)
            if team.can(user, verb, kind)
        }
        for user in ("vera", "bob", "dave")
    }
    read = {("get", jobs), ("get", run)}
    write = {("create", jobs), ("patch", jobs), ("delete", jobs), ("patch", run)}
    assert allowed == {"vera": read, "bob": read | write, "dave": read | write}
    for user in ("bob", "dave"):
        assert not team.can(user, "approve", run)
        assert not any(team.can(user, verb, run, "--subresource=status") for verb in ("patch", "update"))


def test_the_documented_policy_keeps_jobs_from_leaving_legal_out(apiserver: ApiServer, cluster: Cluster) -> None:
    policy = documented("required", "")
    ok(apiserver.run("label", "namespace", cluster.namespace, "example.com/ask-legal=true"))
    ok(apiserver.run("apply", "-f", "-", stdin=policy))

    def create(**gates: Raw) -> Done:
        metadata = {"name": "governed", "namespace": cluster.namespace}
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "FineTuneJob",
            "metadata": metadata,
            "spec": spec(gates=gates),
        }
        return apiserver.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(body))

    try:
        eventually(lambda: "the approval legal are required" in create().stderr)
        for mode, names in (("Enforce", ["privacy"]), ("Warn", ["legal"]), ("Off", ["legal"])):
            done = create(approvals={"mode": mode, "required": [{"name": n} for n in names]})
            assert "the approval legal are required" in done.stderr, (mode, names)
        ok(create(approvals={"required": [{"name": "privacy"}, {"name": "legal"}]}))
    finally:
        ok(apiserver.run("delete", "-f", "-", stdin=policy))
