"""What the demo is made of: names, manifests and paces. Every tunable of hack/demo stands here."""

from hack.cluster.settings import ROOT

NAMESPACE = "retune-demo"
JOB = "support-triage"
MANIFEST = ROOT / "examples" / "support-triage.yaml"
STORE = ROOT / "hack" / "manifests" / "examples" / "store.yaml"
"""The Secret with the keys of the local S3 store."""
SEED = ROOT / "hack" / "seed" / "job.yaml"
SEEDED = (
    ("models", "smollm2-135m-instruct/config.json"),
    ("data", "support/train.jsonl"),
    ("data", "support/gold.jsonl"),
    ("data", "support/new-first.jsonl"),
    ("data", "support/new-later.jsonl"),
)
"""Objects that the seed Job writes: bucket and key. The model's config.json is the last of its files."""

FIELD_MANAGER = "retune-demo"
POLL = 2.0
"""Seconds between two looks at a run."""
FRAMES = 2.0
"""Pictures a second in the live view: the clock moves, the processor hardly notices."""
SEED_PATIENCE = 900.0
"""Seconds that the seed Job may take; on two cores it takes about a minute."""
RUN_PATIENCE = 60.0
"""Seconds until the operator must have made the run that was asked for."""
REPORT_PATIENCE = 90.0
"""Seconds that the report of a run that has ended is waited for."""
SILENCE = 90.0
"""Seconds without an answer of the API server after which the demo gives up."""
PROGRESS_EVERY = 15.0
"""Seconds between two lines about training, where lines are printed."""

RATE = 4.0
"""Requests a second while a model meets its users: what vLLM answers with adapters on two cores, and a little less."""
CALM_RATE = 1.0
"""Requests a second while a model is being trained on the same cores."""
USERS = 5000
"""So many that few come back within an hour: drift takes one request of a user and hour."""
WINDOW = 10.0
"""Seconds over which the rates on the screen are taken."""
ROLLOUT_EVERY = 15.0
"""Seconds between two looks at a rollout whose weight stays, where lines are printed."""
PODS_EVERY = 5.0
"""Seconds between two looks at which serving pods there are."""
NEW_FIRST, NEW_LATER = "s3://data/support/new-first.jsonl", "s3://data/support/new-later.jsonl"
"""What people ask when the world has changed: until a run starts by itself, and from then on."""
SIGNALS_EVERY = 15.0
"""Seconds between two lines about what users see of the change."""
WATCH_PATIENCE = 900.0
"""Seconds that the drift's reference, and its discovery, may take each."""
AFTER = 40.0
"""Seconds for which users ask the model that made good for the drift, before the story is told."""
OUT = ROOT / "out" / "demo"
"""Where reports and pictures are left."""
