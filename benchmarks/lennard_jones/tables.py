"""The tables of the page and what they say in words."""

import numpy as np

from benchmarks.common import markdown, number


def table(result: dict) -> str:
    head = ("sampler", "RMSE/ε, 1 chain", "10 chains", "σ_H/ε", "miscalibration, 1 chain",
            "10 chains", "W₁ outside to exact, 1 chain", "10 chains", "to NUTS, 10 chains",
            "W₁ inside, 10 chains", "gradients of a chain")  # fmt: skip
    lines = []
    for name, row in result["methods"].items():
        by = {int(k): v for k, v in row["chains"].items()}
        one, ten = by.get(1, {}), by.get(10, {})
        lines.append(
            (
                name,
                number(one.get("rmse")),
                number(ten.get("rmse")),
                number(row["sigma"]),
                number(one.get("miscalibration")),
                number(ten.get("miscalibration")),
                number(one.get("w1_exact_outside")),
                number(ten.get("w1_exact_outside")),
                number(ten.get("w1_nuts_outside")),
                number(ten.get("w1_exact_inside")),
                f"{row['gradients_per_chain']:.1e}",
            )
        )
    second = ("sampler", "parts of 10 a run visits", "effective", "draws in the exact 99 %",
              "R-hat of functions", "groups of chains")  # fmt: skip
    runs = []
    for name, row in result["methods"].items():
        if "single_run" not in row:
            continue
        single = row["single_run"]
        cells = single["cells"]
        runs.append(
            (
                name,
                f"{np.mean(cells):.1f} ({min(cells)} … {max(cells)})",
                f"{np.mean(single['effective_cells']):.1f}",
                f"{single['within_reach']:.2f}",
                f"{single['rhat']:.2f}",
                single["clusters_of_chains"],
            )
        )
    return "\n\n".join([markdown(head, lines), markdown(second, runs), *remarks(result)])


def remarks(result: dict) -> list[str]:
    """What the numbers say about references and modes."""
    rows, reference = result["methods"], result["reference"]
    levels = list(result["evidence"].values())
    gain = (levels[-1] - levels[0]) / (len(levels) - 1)
    low = list(result["evidence"])[-1]

    def alone(name: str) -> str:
        one = {int(k): v for k, v in rows[name]["chains"].items()}[1]
        single = rows[name]["single_run"]
        return (
            f"{name}: W₁ {one['w1_exact_outside']:.2f} ε, {np.mean(single['cells']):.1f} parts,"
            f" R-hat {single['rhat']:.2f}, {one['gradients']:.1e} gradients"
        )

    names = ("pSGLD, paper", "pSGLD, small steps", "reSGLD", "cyclical SGHMC",
             "cyclical SGHMC, batch 10", "NUTS", "exact")  # fmt: skip
    return [
        f"Exact functions have R-hat {reference['rhat_exact']:.2f} and chains in"
        f" {rows['exact']['single_run']['clusters_of_chains']} group: one mode. Ten NUTS chains are"
        f" {reference['clusters_of_nuts_chains']} groups, and as a predictive"
        f" {reference['w1_of_references']['w1_exact_outside']:.2f} ε from exact outside the data.",
        f"log p(data | σ_H) rises by {gain:.0f} for each decade that σ_H falls, down to {low}:"
        " noise-free data give σ_H no scale.",
        "One run alone: " + "; ".join(alone(name) for name in names) + ".",
    ]
