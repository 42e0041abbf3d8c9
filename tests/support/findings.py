"""What the doctor advises."""

from collections.abc import Sequence

from glue_bench.doctor import PROBLEM, Finding


def advised(findings: Sequence[Finding] | Finding) -> list[str]:
    """Return the states; fail on a problem without advice."""
    listed = [findings] if isinstance(findings, Finding) else list(findings)
    assert all(finding.advice for finding in listed if finding.state == PROBLEM)
    return [finding.state for finding in listed]
