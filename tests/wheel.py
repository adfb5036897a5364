"""Build the wheel, install it into a clean folder, and import both packages from there."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PROBE = """
import sys
import bayespot.cli, bayespot.learning, bayespot.report, bayespot.training, samplers
from importlib.resources import files
for package in (bayespot, samplers):
    assert package.__file__.startswith(sys.argv[1]), package.__file__
for name in ("template.toml", "template_fit.toml"):
    assert files("bayespot").joinpath(name).is_file()
assert files("bayespot.report").joinpath("report.html").is_file()
print("wheel: both packages import from", sys.argv[1])
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out, clean = Path(folder, "dist"), Path(folder, "clean")
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(out)]
        subprocess.run([*build, str(ROOT)], check=True)
        (wheel,) = out.glob("bayespot-*.whl")
        tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
        tops = {t for t in tops if not t.endswith(".dist-info")}
        assert tops == {"bayespot", "samplers"}, f"unexpected content: {sorted(tops)}"
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*install, "--target", str(clean), str(wheel)], check=True)
        # isolated from the checkout; the clean folder goes before the editable install
        code = f"import sys; sys.path.insert(0, {str(clean)!r})\n" + PROBE
        subprocess.run([sys.executable, "-I", "-c", code, str(clean)], check=True, cwd=folder)


if __name__ == "__main__":
    main()
