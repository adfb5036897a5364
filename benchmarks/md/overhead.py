"""The engine's step over the bare force call it must make."""

from bayespot.md import NPT, NVE, NVT
from benchmarks.common import markdown
from benchmarks.md import timing


def run(quick: bool) -> list[dict]:
    """SchNet on 64 atoms of silicon: 8 draws x 2 replicas."""
    system = timing.silicon()
    params = timing.draws(timing.SILICON, system, 8)
    steps, repeats = (20, 15) if quick else (100, 15)
    bare = timing.bare_force(timing.SILICON, params, system, 2, 0.5, steps, repeats)
    rows = []
    for name, ensemble in (
        ("NVE", NVE(300.0, 1.0)),
        ("NVT, Langevin", NVT(300.0, 1.0)),
        ("NVT, Nosé–Hoover", NVT(300.0, 1.0, "nose_hoover")),
        ("NPT", NPT(300.0, 1.0)),
    ):
        seconds = timing.engine(timing.SILICON, params, system, 2, 0.5, steps, repeats, ensemble)
        # once more after the engine: the machine may have changed its pace meanwhile
        again = timing.bare_force(timing.SILICON, params, system, 2, 0.5, steps, repeats)
        bare = min(bare, again)
        rows.append({"ensemble": name, "step_seconds": seconds, "replicas": 16})
    for row in rows:
        row |= {"bare_seconds": bare, "ratio": row["step_seconds"] / bare}
    return rows


def table(rows: list[dict]) -> str:
    return markdown(
        (
            "SchNet, 64 atoms, 8 draws × 2",
            "step / ms, replica",
            "force / ms, replica",
            "ratio",
        ),
        [
            (
                r["ensemble"],
                f"{1e3 * r['step_seconds'] / r['replicas']:.2f}",
                f"{1e3 * r['bare_seconds'] / r['replicas']:.2f}",
                f"{r['ratio']:.2f}",
            )
            for r in rows
        ],
    )
