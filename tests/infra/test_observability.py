"""Alerts, availability test, workbook and budget, as observability.bicep has them; each alert leads to its runbook."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from cli.cost.deployed import deployed
from cli.cost.load import DAYS, Assumed, Load
from cli.cost.quantities import Work
from tests.infra.snapshot import ENVIRONMENTS, ROOT, snapshot
from tests.infra.test_queries import QUERIES

INFRA = ROOT / "infra"
MODULE = (INFRA / "modules/observability.bicep").read_text("utf-8")
GUIDE = (ROOT / "docs/operations.md").read_text("utf-8")
RUNBOOKS = re.findall(r"^## (.+)$", GUIDE.partition("\n# Runbooks\n")[2], re.MULTILINE)
ALERTS = re.findall(
    r"name: '([a-z-]+)'\n +title: '([^']+)'\n +severity: (\d)\n +frequency: '(\w+)'\n +window: '(\w+)'\n"
    r" +query: loadTextContent\('\.\./queries/(\w+)\.kql'\)",
    MODULE,
)
FREQUENCIES = {
    "PT1M",
    "PT5M",
    "PT10M",
    "PT15M",
    "PT30M",
    "PT45M",
    "PT1H",
    "PT2H",
    "PT3H",
    "PT4H",
    "PT5H",
    "PT6H",
    "P1D",
}
WINDOWS = FREQUENCIES | {"P2D"}
MINUTES = {"M": 1, "H": 60, "D": 24 * 60}


def minutes(span: str) -> int:
    return int(re.sub(r"\D", "", span)) * MINUTES[span[-1]]


def test_every_query_is_an_alert_of_its_name() -> None:
    assert {query: name for name, *_, query in ALERTS} == {query: query.replace("_", "-") for query in QUERIES}


def test_every_alert_has_a_runbook_of_its_name_and_none_is_of_an_alert_that_is_gone() -> None:
    assert [*(name for name, *_ in ALERTS), "availability"] == RUNBOOKS


@pytest.mark.parametrize(("name", "frequency", "window"), [(one[0], one[3], one[4]) for one in ALERTS])
def test_an_alert_is_asked_for_as_often_as_its_window_is_long_at_least(name: str, frequency: str, window: str) -> None:
    """In steps that Azure takes: https://learn.microsoft.com/azure/templates/microsoft.insights/scheduledqueryrules."""
    assert frequency in FREQUENCIES and window in WINDOWS
    assert minutes(frequency) <= minutes(window), f"{name} would not see all that happens"


def test_the_cost_model_has_every_rule_at_the_price_of_how_often_it_looks() -> None:
    assumed, often = Assumed(), [minutes(frequency) for *_, frequency, _, _ in ALERTS]
    assert {span for span in often if span < 15} == {5}  # each frequency below has its own price
    assert (assumed.alerts, assumed.slow_alerts) == (often.count(5), len(often) - often.count(5))
    places = re.search(r"availabilityLocations array = \[\n(.+?)\]", MODULE, re.DOTALL)
    assert places is not None and assumed.series == len(places[1].split())


def test_a_window_is_as_long_as_its_query_looks_back() -> None:
    windows = {query: window for *_, window, query in ALERTS}
    for query, text in QUERIES.items():
        long = re.search(r"^let long = (\d+)h;", text, re.MULTILINE)
        assert long is None or minutes(windows[query]) == int(long[1]) * 60


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_environment_has_every_alert_with_its_query_and_somebody_who_is_told(environment: str) -> None:
    found = snapshot(environment)
    rules = {one["name"]: one["properties"] for one in found.all("Microsoft.Insights/scheduledQueryRules")}
    assert len(rules) == len(ALERTS)
    group = found.one("Microsoft.Insights/actionGroups")
    assert group["properties"]["emailReceivers"]
    for name, *_, query in ALERTS:
        (rule,) = [one for called, one in rules.items() if called.endswith(f"-{environment}-{name}")]
        assert rule["criteria"]["allOf"][0]["query"] == QUERIES[query]
        assert rule["description"].endswith(f"docs/operations.md#{name}")
        assert rule["actions"]["actionGroups"] == [group["id"]]
        assert rule["scopes"] == [found.one("Microsoft.OperationalInsights/workspaces")["id"]]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_days_logs_hold_what_the_load_of_the_readme_tells_twice_over(environment: str) -> None:
    """Where they are used up no alert on logs fires."""
    workspace = snapshot(environment).one("Microsoft.OperationalInsights/workspaces")
    quota = workspace["properties"]["workspaceCapping"]["dailyQuotaGb"]
    a_day = sum(Work(deployed(environment, Load())).log_bytes().values()) / DAYS / 1e9
    assert quota == -1 or 2 * a_day < quota, f"{a_day:.1f} GB a day"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_health_is_asked_for_where_callers_come_in_and_a_budget_is_kept(environment: str) -> None:
    found = snapshot(environment)
    url = found.one("Microsoft.Insights/webtests")["properties"]["Request"]["RequestUrl"]
    assert "/api/health" in url
    assert found.one("Microsoft.Consumption/budgets")["properties"]["timePeriod"]["startDate"].endswith("-01")
    workbook = json.loads(found.one("Microsoft.Insights/workbooks")["properties"]["serializedData"])
    assert workbook == json.loads((INFRA / "workbook.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    if shutil.which("bicep") is None:
        pytest.skip("there is no Bicep compiler")
    command = ["bicep", "build", str(INFRA / "modules/observability.bicep"), "--stdout"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def of(compiled: dict[str, Any], type: str) -> dict[str, Any]:
    resources = compiled["resources"]
    listed = resources if isinstance(resources, list) else resources.values()  # by name where one is there already
    (found,) = [one for one in listed if one["type"] == type]
    properties: dict[str, Any] = found["properties"]
    return properties


def test_all_alerts_go_to_somebody_and_say_where_to_read_on(compiled: dict[str, Any]) -> None:
    assert len(compiled["variables"]["alerts"]) == len(ALERTS)
    rule = of(compiled, "Microsoft.Insights/scheduledQueryRules")
    assert rule["enabled"] is True and "actionGroups" in rule["actions"]["actionGroups"][0]
    assert "#{1}" in rule["description"] and "alerts" in rule["description"]
    (criterion,) = rule["criteria"]["allOf"]
    assert (criterion["timeAggregation"], criterion["operator"], criterion["threshold"]) == ("Count", "GreaterThan", 0)


def test_health_is_asked_for_from_several_places_and_one_that_fails_wakes_nobody(compiled: dict[str, Any]) -> None:
    test = of(compiled, "Microsoft.Insights/webtests")
    assert test["Request"]["RequestUrl"] == "[parameters('healthUrl')]"
    assert (test["Enabled"], test["Frequency"], test["ValidationRules"]["ExpectedHttpStatusCode"]) == (True, 600, 200)
    assert len(compiled["parameters"]["availabilityLocations"]["defaultValue"]) >= 5
    criteria = of(compiled, "Microsoft.Insights/metricAlerts")["criteria"]
    assert criteria["odata.type"] == "Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria"
    assert criteria["failedLocationCount"] == 2


def test_the_workbook_is_the_file_and_the_budget_is_told_before_it_is_spent(compiled: dict[str, Any]) -> None:
    workbook = of(compiled, "Microsoft.Insights/workbooks")
    assert workbook["serializedData"].startswith("[string(")
    nested = of(compiled, "Microsoft.Resources/deployments")["template"]
    told = of(nested, "Microsoft.Consumption/budgets")["notifications"]
    assert told.keys() == {"spent50", "spent80", "spent100", "forecast100"}


def test_a_misspelt_property_is_a_diagnostic(tmp_path: Any) -> None:
    """Bicep only warns of it, and exits with 0; whoever compiles here wants no word on standard error."""
    if shutil.which("bicep") is None:
        pytest.skip("there is no Bicep compiler")
    text = MODULE.replace("evaluationFrequency:", "evaluationFrequenzy:", 1)
    for path in ("queries", "workbook.json", "modules/budget.bicep"):
        target = tmp_path / path
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if (INFRA / path).is_dir() else shutil.copyfile)(INFRA / path, target)
    (tmp_path / "modules/observability.bicep").write_text(text, "utf-8")
    command = ["bicep", "build", str(tmp_path / "modules/observability.bicep"), "--stdout"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "evaluationFrequenzy" in done.stderr
