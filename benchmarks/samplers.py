"""Everything the samplers are measured by: speed, memory, and the papers' experiments.

    python -m benchmarks.samplers --setting quick

prints the tables, writes ``NAME.json`` and figures, and puts the tables into
``docs/choosing-a-sampler.md`` when told to (``--page``).
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks import common, digits, lennard_jones, regression, throughput

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results"
PAGE = ROOT / "docs/choosing-a-sampler.md"
EXPERIMENTS: dict[str, Any] = {
    "throughput": throughput,
    "regression": regression,
    "lennard_jones": lennard_jones,
    "digits": digits,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samplers")
    parser.add_argument("--setting", choices=("quick", "full"), default="quick")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="*", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--page", action="store_true", help=f"rewrite the tables of {PAGE.name}")
    given = parser.parse_args()
    for name in given.only:
        module = EXPERIMENTS[name]
        result = common.perform(name, module.run, given.setting, given.out)
        table = module.table(result)
        print(
            f"## {name} ({given.setting}, {result['wall_seconds']:.0f} s)\n\n{table}\n", flush=True
        )
        if given.page:
            common.write_table(PAGE, name, table)


if __name__ == "__main__":
    main()
