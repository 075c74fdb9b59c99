"""A JUnit report of a gate, for programs that show test results."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from experiments.config.criteria import state
from experiments.record import Row


def junit(name: str, digest: str, rows: Sequence[Row], control: Sequence[Row]) -> str:
    """The report as XML: a case a control pair, then one a criterion and pair; the same rows give the same text.

    A criterion that only warns is a case that passes and tells the warning in `system-out`; JUnit knows no warning.
    No times are told, for nothing is run.

    Args:
        name: of the run; digest: of its config, told as a property.
        rows: as `criteria.check` gives them; control: rows with "pair", "met" and "told".

    Source: the attributes and elements that the JUnit report of Apache Ant and the schema of Jenkins' xUnit plugin
        share.
    """
    failed = sum(not row["met"] for row in control) + sum(state(row) == "fail" for row in rows)
    counts = {"tests": str(len(rows) + len(control)), "failures": str(failed), "errors": "0"}
    suites = ElementTree.Element("testsuites", {"name": "diverget", **counts})
    suite = ElementTree.SubElement(suites, "testsuite", {"name": name, **counts, "skipped": "0"})
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", {"name": "digest", "value": digest})
    for row in control:
        _case(suite, row["pair"], "control", None if row["met"] else ("control", row["told"]))
    for row in rows:
        found = state(row)
        trouble = ("criterion", row["told"]) if found == "fail" else None
        case = _case(suite, row["pair"], f"{row['criterion']} ({row.get('level', 'fail')})", trouble)
        if found == "warn":
            ElementTree.SubElement(case, "system-out").text = f"WARNING: {row['told']}"
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, pair: str, name: str, trouble: tuple[str, str] | None) -> ElementTree.Element:
    case = ElementTree.SubElement(suite, "testcase", {"classname": f"diverget.{pair}", "name": name})
    if trouble is not None:
        kind, told = trouble
        ElementTree.SubElement(case, "failure", {"type": kind, "message": told}).text = told
    return case
