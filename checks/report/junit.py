"""The report as JUnit XML, for CI."""

from xml.etree import ElementTree

from checks.kit.core import FAILED, PASSED, UNCHECKED, UNSTABLE
from checks.report.model import facts_of, lines_of, number_of, results_of, total


def junit(report: dict) -> str:
    """JUnit XML, a test suite per milestone. What could not be checked is skipped: it is not wrong."""
    suites = ElementTree.Element("testsuites", name="pixelwise")
    for milestone in report["milestones"]:
        results, counts = results_of(report, milestone), milestone["counts"]
        suite = ElementTree.SubElement(
            suites,
            "testsuite",
            name=f"{milestone['name']} {milestone['title']}",
            tests=str(len(results)),
            failures=str(counts[FAILED] + counts[UNSTABLE]),
            errors="0",
            skipped=str(counts[UNCHECKED]),
            time=f"{total(results, 'seconds'):.3f}",
            timestamp=report["started"],
        )
        for result in results:
            _junit_case(suite, result)
    ElementTree.indent(suites)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _junit_case(suite: ElementTree.Element, result: dict) -> None:
    name = f"{number_of(result)} {result['sentence']}"
    time = f"{result['seconds']:.3f}"
    case = ElementTree.SubElement(suite, "testcase", classname=result["milestone"], name=name, time=time)
    if result["status"] == UNCHECKED:
        ElementTree.SubElement(case, "skipped", message=result["reason"])
    elif result["status"] != PASSED:
        message = ", ".join(f"{name} {text}" for name, text in list(facts_of(result).items())[:2])
        failure = ElementTree.SubElement(case, "failure", type=result["status"], message=message)
        failure.text = lines_of(result)
