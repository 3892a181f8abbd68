"""Lists what the policy packs let through of an environment: every place made weaker, in turn.

    python tests/benchmarks/mutations.py prod

The environment is deployed with the stand-in providers, which makes nothing anywhere. A line is a
type, a property and a change that no rule catches, and of how many resources; people read them.
"""

from __future__ import annotations

import collections
import json
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from rule_mutations import Judges
from rule_weakenings import weakenings

from policies.common.configuration import configured
from policies.common.resources import of_state
from policies.packs import CONFIGURATIONS, RULES
from stacks.offline import offline


def main(environment: str) -> None:
    """Tries all, and prints what is not caught."""
    with offline(environment) as stack:
        up = stack.pulumi("up", "--yes", "--skip-preview")
        if up.returncode != 0:
            sys.exit(up.stdout + up.stderr)
        state = stack.pulumi("stack", "export", "--show-secrets").stdout
    began = time.monotonic()
    content = json.loads((CONFIGURATIONS / f"{environment}.json").read_text(encoding="utf-8"))
    inputs = of_state(state, "inputs")
    judges = Judges(inputs, of_state(state, "outputs"), configured(RULES, content))
    tried = [one for resource in inputs for one in weakenings(resource)]
    missed = [one.group for one in tried if judges.catches(one.urn, one.make) is None]
    seconds = time.monotonic() - began
    for group, number in sorted(collections.Counter(missed).items()):
        print(f"{number:>4}  {'  '.join(group)}")  # noqa: T201 what it is for
    print(  # noqa: T201
        f"{len(tried)} mutations of {len(inputs)} resources in {seconds:.0f} s: "
        f"{len(tried) - len(missed)} caught, {len(missed)} not"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
