"""Every adapter of a port runs every case of its contract, under the same names."""

from types import ModuleType

from tests.contract import (
    database,
    fence,
    messaging,
    queries,
    registry,
    test_database_cosmos,
    test_database_sqlite,
    test_messaging_servicebus,
    test_messaging_sqlite,
)


def cases(module: ModuleType) -> set[str]:
    return {
        f"{name}.{case}"
        for name, suite in vars(module).items()
        if isinstance(suite, type) and name.startswith("Test")
        for case in dir(suite)
        if case.startswith("test_")
    }


def contract(*modules: ModuleType) -> set[str]:
    suites = [one for module in modules for name, one in vars(module).items() if name.endswith("Contract")]
    return {case for suite in suites for case in dir(suite) if case.startswith("test_")}


def test_both_databases_run_the_same_cases() -> None:
    assert cases(test_database_sqlite) == cases(test_database_cosmos)


def test_no_case_of_the_database_contract_is_left_out() -> None:
    assert {case.split(".")[1] for case in cases(test_database_cosmos)} == contract(database, fence, queries, registry)


def test_both_brokers_run_the_same_cases_and_all_of_them() -> None:
    assert cases(test_messaging_sqlite) == cases(test_messaging_servicebus)
    assert {case.split(".")[1] for case in cases(test_messaging_servicebus)} == contract(messaging)
