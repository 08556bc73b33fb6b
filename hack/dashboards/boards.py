"""What all dashboards have in common: tags, time range, links to each other, and the variables to choose."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model
from hack.dashboards.panels import SOURCE

TAG = "retune"
OF_JOB = 'namespace="$namespace", job="$job"'
OF_MODEL = 'namespace="$namespace", model="$model"'
OF_FLEET = 'namespace=~"$namespace"'
_ANY = "retune_job_phase"  # told of every job, even of those that are told in brief


def board(name: str, title: str, about: str, since: str, *, refresh: str = "30s") -> dashboard.Dashboard:
    """An empty dashboard with the choice of a data source; `since`: how far back it looks, such as 6h."""
    others = dashboard.DashboardLink("Retune").type(model.DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(True)
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return (
        dashboard.Dashboard(title)
        .uid(f"retune-{name}")
        .description(about)
        .tags([TAG])
        .time(f"now-{since}", "now")
        .refresh(refresh)
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .editable()
        .link(others.include_vars(True).keep_time(True))
        .with_variable(source)
    )


def of_one_job(made: dashboard.Dashboard) -> dashboard.Dashboard:
    """With the choice of one job; `$model` follows from it: the name under which taps count its requests."""
    namespace, job = f'{_ANY}{{namespace="$namespace"}}', f"retune_job_info{{{OF_JOB}}}"
    return (
        made.with_variable(_choice("namespace", "Namespace", f"label_values({_ANY}, namespace)"))
        .with_variable(_choice("job", "Job", f"label_values({namespace}, job)"))
        .with_variable(_choice("model", "Model", f"label_values({job}, model)").hide(model.VariableHide.HIDE_VARIABLE))
    )


def of_namespaces(made: dashboard.Dashboard) -> dashboard.Dashboard:
    """With the choice of one namespace, several or all."""
    chosen = _choice("namespace", "Namespace", f"label_values({_ANY}, namespace)")
    return made.with_variable(chosen.multi(True).include_all(True).all_value(".*"))


def _choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(SOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
