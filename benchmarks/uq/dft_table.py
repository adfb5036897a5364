"""What part ``dft`` tells of an assessment."""

from __future__ import annotations

from typing import Any

from benchmarks.common import markdown, number

KINDS = ("forces", "energy", "stress")


def summary(method: dict) -> dict:
    """What the table shows of one method of an assessment."""
    made: dict[str, Any] = {"method": method["name"], "verdict": method["verdict"]["kind"]}
    for quantity in method["quantities"]:
        if quantity["name"] not in KINDS:
            continue
        domains = quantity["groups"].get("domain", {})
        made[quantity["name"]] = {
            "unit": quantity["unit"],
            **{k: quantity["metrics"].get(k) for k in ("spearman", "ood_auroc", "ause")},
            **{
                domain: {
                    k: given["metrics"].get(k)
                    for k in ("rmse", "mean_squared_z", "coverage_68", "coverage_95", "sharpness")
                }
                | {"count": given["count"]}
                for domain, given in domains.items()
            },
        }
    return made


def table(result: dict) -> str:
    """Errors and what is said of them, in distribution and out of it; elastic constants."""
    made = []
    for case in result["cases"]:
        for number_of, outside in enumerate(case["outside"]):
            head = (
                f"{case['name']}, out of distribution: {outside}",
                *("quantity", "RMSE in", "out", "mean z² in", "out", "in 95 %: in", "out"),
                *("Spearman", "AUROC out", "gradients / one model", "core s"),
            )
            rows = []
            for name, given in case["methods"].items():
                for row in given["rows"]:
                    if row["outside"] != outside:
                        continue
                    costs = row["method"] == name and not number_of
                    for kind in KINDS:
                        if kind in row:
                            rows.append(_line(row, kind, costs, given, case["one_model"]))
            made.append(markdown(head, rows))
        if any("elastic" in given for given in case["methods"].values()):
            made.append(_elastic(case))
    return "\n\n".join(made)


def _elastic(case: dict) -> str:
    """Values with half of 95 % intervals; bold where those do not hold what the labels say."""
    methods = {k: given["elastic"] for k, given in case["methods"].items()}
    first = next(iter(methods.values()))["rows"]
    head = (
        f"{case['name']}: 95 % intervals (recalibrated; do 68 % ones hold, before/after)",
        *(f"{row['name']} ({row['unit']})" for row in first),
        "no minimum", "unstable",
    )  # fmt: skip
    rows = [
        (
            "labels (± standard error)",
            *(f"{number(r['dft'], 4)} ± {number(r['error'], 1)}" for r in first),
            *("", ""),
        )
    ]
    for name, given in methods.items():
        cells = [_constant(row) for row in given["rows"]]
        of = f" of {given['draws']}"
        rows.append((name, *cells, f"{given['lost']}{of}", f"{given['soft']}{of}"))
    return markdown(head, rows)


def _constant(row: dict) -> str:
    if row["mean"] is None:
        return "**no interval**"
    told = []
    for variant in ("plain", "recalibrated"):
        text = f"± {number(row[variant]['half95'])}"
        told.append(text if row[variant]["95"] else f"**{text}**")
    held = "/".join("yes" if row[variant]["68"] else "no" for variant in ("plain", "recalibrated"))
    return f"{number(row['mean'], 4)} {told[0]} ({told[1]}; {held})"


def _line(row: dict, kind: str, costs: bool, cost: dict, one: dict) -> tuple[str, ...]:
    q = row[kind]
    scale, unit = (1e3, "m" + q["unit"]) if q["unit"].startswith("eV") else (1.0, q["unit"])
    by = [q.get(domain, {}) for domain in ("in", "out")]
    first = kind == KINDS[0] and costs
    return (
        row["method"] if kind == KINDS[0] else "",
        f"{kind} ({unit})",
        *(_value(d, "rmse", scale) for d in by),
        *(_value(d, "mean_squared_z") for d in by),
        *(_value(d, "coverage_95", 100) for d in by),
        _interval(q["spearman"]),
        _interval(q["ood_auroc"]),
        f"{cost['gradients'] / one['gradients']:.1f}" if first else "",
        number(cost["core_seconds"]) if first else "",
    )


def _value(given: dict, name: str, scale: float = 1.0) -> str:
    metric = given.get(name)
    return "–" if not metric or metric["value"] is None else number(scale * metric["value"])


def _interval(metric: dict | None) -> str:
    if not metric or metric["value"] is None:
        return "–"
    low, high = metric["low"], metric["high"]
    ends = "" if low is None or high is None else f" ({low:.2f}–{high:.2f})"
    return f"{metric['value']:.2f}{ends}"
