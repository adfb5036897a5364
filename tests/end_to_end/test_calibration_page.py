"""The calibration page in headless Chromium: offline, readable by all, sortable, on two sheets."""

import itertools
import json
import re
import shutil

import jsonschema
import pytest

from bayespot import assessment
from bayespot.report import calibration_page as page
from bayespot.report import calibration_text as text
from tests.end_to_end.committees import with_ensemble

SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--disable-component-update", "--no-first-run"]  # fmt: skip
CASES = {"one": [2.0], "two": [2.0, 1.0], "five": [2.0, 1.0, 0.4, 6.0, 1.3]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Name of a case -> its assessment: one to five committees whose errors have known factors."""
    folder = tmp_path_factory.mktemp("ensembles")
    files = {f: with_ensemble(folder / f"errors x {f}.extxyz", factor=f) for f in CASES["five"]}
    found = {}
    for name, factors in CASES.items():
        each = []
        for factor in factors:
            source = assessment.open_source(str(files[factor]), files[factor])
            chosen = assessment.read_frames(files[factor])
            each.append(assessment.assess([source], chosen, seed=1).content)
        whole = dict(each[0])
        whole["methods"] = [m for one in each for m in one["methods"]]
        for method in whole["methods"]:
            # figures take time: one has all, two energies and forces, five vectors besides
            del method["quantities"][{"one": 4, "two": 2, "five": 3}[name] :]
        found[name] = whole
    return found


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, content in made.items():
        page.write(folder / name, content)
    return {name: folder / name / "calibration.html" for name in made}


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no Chromium (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield found
        found.close()


@pytest.fixture
def show(browser, written):
    """Opens a page; what the console said and what was asked for is kept on it."""
    contexts = []

    def opened(name="one", width=1280, height=800, scheme="light", change=lambda html: html):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        tab = context.new_page()
        tab.said, tab.asked = [], []
        tab.on("console", lambda message: tab.said.append(message.text))
        tab.on("pageerror", lambda error: tab.said.append(str(error)))
        tab.on("request", lambda request: tab.asked.append(request.url))
        path = written[name]
        changed = change(path.read_text(encoding="utf-8"))
        if changed != path.read_text(encoding="utf-8"):
            path = path.with_name("changed.html")
            path.write_text(changed, encoding="utf-8")
        tab.goto(path.as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()


def test_it_renders_offline_and_says_nothing(show):
    tab = show("two")
    assert tab.title() == "Calibration on errors x 2.0.extxyz"
    assert tab.said == []
    assert len(tab.asked) == 1
    assert tab.locator("svg[role=img]").count() >= 10
    assert (
        tab.evaluate("document.querySelector('svg[role=img]').getBoundingClientRect().width") > 200
    )
    # an image from elsewhere is seen here, and stopped by the page's own policy
    spoilt = show(
        "two", change=lambda h: h.replace("<header>", '<img src="https://e.invalid/a.png">')
    )
    assert len(spoilt.asked) > 1 or spoilt.said
    assert any("Content Security Policy" in said for said in spoilt.said)


def test_the_verdict_stands_in_the_first_screen(show):
    tab = show("one", height=720)
    card = tab.locator(".card.verdict")
    for part in (
        card.locator(".headline"),
        card.locator("p").nth(1),
        tab.get_by_text("What to do"),
    ):
        box = part.bounding_box()
        assert box["y"] + box["height"] < 720
    assert re.search(r"Stretch by (1\.[89]|2|2\.[0-3])\b", card.locator(".headline").inner_text())
    assert "not recalibrated" in card.inner_text()


def values(tab, table, column):
    cells = tab.locator(table).locator(f"tbody tr > :nth-child({column})")
    return cells.evaluate_all("all => all.map(c => c.dataset.value ?? c.textContent.trim())")


def test_tables_sort_by_mouse_and_keyboard(show):
    tab = show("five")
    table = "#overview table"
    head = tab.locator(f"{table} th", has_text="RMSE")
    before = [float(x) for x in values(tab, table, 3)]
    assert before != sorted(before)
    assert head.get_attribute("aria-sort") == "none"
    head.locator("button").click()
    assert [float(x) for x in values(tab, table, 3)] == sorted(before)
    assert head.get_attribute("aria-sort") == "ascending"
    tab.keyboard.press("Enter")
    assert [float(x) for x in values(tab, table, 3)] == sorted(before, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    # to the column before it, by keys alone
    tab.keyboard.press("Shift+Tab")
    tab.keyboard.press("Space")
    names = values(tab, table, 2)
    assert names == sorted(names, key=str.lower)
    assert len(set(names)) == 5
    assert head.get_attribute("aria-sort") == "none"
    # whole rows moved: their first cell still belongs to the second
    row = tab.locator(f"{table} tbody tr").first
    assert row.locator("th").inner_text()
    # numbers beside their intervals sort as numbers
    table_of_groups = "#forces .groups table"
    tab.locator(f"{table_of_groups} th", has_text="RMSE").locator("button").click()
    errors = [float(x) for x in values(tab, table_of_groups, 5)]
    assert errors == sorted(errors)
    assert len(set(errors)) > 9
    # numbers that are missing go last
    column = 1 + tab.locator(f"{table} th").all_inner_texts().index(
        next(t for t in tab.locator(f"{table} th").all_inner_texts() if "AUSE" in t)
    )
    tab.locator(f"{table} th", has_text="AUSE").locator("button").click()
    shown = values(tab, table, column)
    assert "–" in shown
    assert shown.index("–") == len(shown) - shown.count("–")


def test_figures_say_what_they_show(show, made):
    tab = show("five")
    told = tab.locator("svg[role=img]").evaluate_all(
        "all => all.map(s => s.getAttribute('aria-label'))"
    )
    assert len(told) == len(set(told))
    for words in told:
        assert len(words) > 80
        assert re.search(r"\d", words)
        for method in made["five"]["methods"]:
            assert f"{method['name']}: " in words
    curve = next(w for w in told if w.startswith("Reliability of force components"))
    said = dict(re.findall(r"(errors x [\d.]+): .*?the curve lies (.*?)\.(?: |$)", curve))
    assert said == {
        "errors x 2.0": "below it", "errors x 1.0": "on the diagonal", "errors x 0.4": "above it",
        "errors x 6.0": "below it", "errors x 1.3": "below it",
    }  # fmt: skip
    # the picture itself: the same curve, pixel by pixel of its path
    assert tab.locator("figcaption").count() == len(told)


@pytest.mark.parametrize("name", ["one", "five"])
def test_a_narrow_screen_needs_no_sideways_scroll(show, name):
    width = "document.documentElement.scrollWidth"
    tab = show(name, width=360, height=740)
    assert tab.evaluate(width) == 360
    # wide tables scroll in regions that the keyboard reaches
    regions = tab.locator(".scroll")
    assert regions.count() == tab.locator("[role=region][tabindex='0'][aria-label]").count() > 0
    assert max(regions.evaluate_all("all => all.map(r => r.scrollWidth)")) > 360
    spoilt = show(name, width=360, change=lambda h: h.replace("overflow-x: auto", ""))
    assert spoilt.evaluate(width) > 360


CONTRAST = """() => {
  const channels = c => c.match(/[\\d.]+/g).map(Number);
  const linear = x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
  const light = c => {
    const [r, g, b] = channels(c).map(x => linear(x / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor;
      if (channels(c)[3] !== 0) return c;
    }
  };
  const ratio = (a, b) => {
    const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
    return (x + .05) / (y + .05);
  };
  const found = { text: 99, line: 99, count: 0 };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, style = getComputedStyle(e);
    if (!walk.currentNode.textContent.trim() || e.closest("script, style, title")) continue;
    if (!e.getClientRects().length) continue;
    found.count++;
    const ink = e.closest("svg") ? style.fill : style.color;
    found.text = Math.min(found.text, ratio(ink, behind(e)));
  }
  for (const e of document.querySelectorAll("svg path[style*=method], svg use[style*=method]")) {
    const style = getComputedStyle(e), c = style.stroke === "none" ? style.fill : style.stroke;
    found.line = Math.min(found.line, ratio(c, behind(e)));
  }
  return found; }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(show, scheme):
    tab = show("five", scheme=scheme)
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 25)"
    assert dark == (scheme == "dark")
    found = tab.evaluate(CONTRAST)
    assert found["count"] > 500
    assert found["text"] >= 4.5
    assert found["line"] >= 3.0
    # ink that forgets the scheme is caught
    spoilt = show(
        "five", scheme="dark", change=lambda h: h.replace("fill: var(--ink)", "fill: #222")
    )
    assert spoilt.evaluate(CONTRAST)["text"] < 2


def sheets(pdf):
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@pytest.mark.parametrize("name", list(CASES))
def test_it_prints_on_two_sheets(show, name):
    tab = show(name)
    assert sheets(tab.pdf(prefer_css_page_size=True)) == 2
    if name == "one":
        spoilt = show(name, change=lambda h: h.replace("@media print", "@media tv"))
        assert sheets(spoilt.pdf(prefer_css_page_size=True)) > 3


def test_structure_for_keyboard_and_screen_reader(show):
    tab = show("two")
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert tab.get_by_role(landmark).count() == 1, landmark
    levels = tab.locator("h1, h2, h3, h4").evaluate_all("all => all.map(h => +h.tagName[1])")
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    ids = tab.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))
    for target in tab.locator("nav a, a.skip").evaluate_all("all => all.map(a => a.hash.slice(1))"):
        assert target in ids
    for name in tab.locator("[aria-labelledby]").evaluate_all(
        "all => all.map(e => e.getAttribute('aria-labelledby'))"
    ):
        assert name in ids
    # the first stop is the way past the contents; it can be seen while it has the focus
    tab.keyboard.press("Tab")
    skip = tab.locator(":focus")
    assert skip.inner_text() == "Skip to the verdict"
    assert skip.bounding_box()["x"] >= 0
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"
    # no table column without a head, no row without a name
    for table in tab.locator("table").all():
        assert table.locator("thead th[scope=col]").count() == table.locator("thead th").count() > 1
        assert table.locator("tbody tr").count() == table.locator("tbody th[scope=row]").count()


def test_the_json_obeys_its_schema(made, written):
    schema = page.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for name, path in written.items():
        content = json.loads(path.with_suffix(".json").read_text())
        validator.validate(content)
        assert {m["name"] for m in content["methods"]} == {m["name"] for m in made[name]["methods"]}
    content["methods"][0]["quantities"][0]["metrics"]["rmse"] = {"value": "small"}
    assert not validator.is_valid(content)
    content = json.loads(path.with_suffix(".json").read_text())
    content["methods"][0]["verdict"] = {**content["methods"][0]["verdict"], "kind": "good"}
    assert not validator.is_valid(content)


def test_markdown_and_page_hold_every_metric(made, written):
    for name, path in written.items():
        said, html = path.with_suffix(".md").read_text(encoding="utf-8"), path.read_text()
        for method in made[name]["methods"]:
            assert f"## {text.method_headline(method)}: {method['name']}" in said
            for q in method["quantities"]:
                factor, _ = text.shown_unit(made[name], q["name"])
                for metric, m in q["metrics"].items():
                    shown = text.number(metric, m["value"], factor)
                    assert shown in said
                    assert shown in html
                    assert made[name]["reading"][metric]["sentence"] in said
                    assert m["low"] is None or m["low"] <= m["high"]
    stress = made["one"]["methods"][0]["quantities"][3]
    gpa = f"{160.21766 * stress['metrics']['rmse']['value']:.3g}"
    assert f"| RMSE | {gpa} (" in written["one"].with_suffix(".md").read_text(encoding="utf-8")


def with_one_quantity(assessed):
    copy = json.loads(json.dumps(assessed))
    del copy["methods"][0]["quantities"][1:]
    return copy


def test_equal_numbers_give_equal_bytes_and_names_are_text(made, tmp_path):
    content = with_one_quantity(made["one"])
    page.write(tmp_path / "a", content)
    page.write(tmp_path / "b", content)
    for name in ("calibration.html", "calibration.md", "calibration.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    content["methods"][0]["name"] = content["title"] = '<b onclick="x">&'
    html = page.render(content)
    assert "<b onclick" not in html
    assert html.count("&lt;b onclick=&#34;x&#34;&gt;&amp;") >= 2


def test_the_terminal_hears_the_verdict_first(made):
    lines = text.summary(made["two"])
    assert re.match(r"Stretch by .* - errors x 2\.0$", lines[0])
    assert sum("not recalibrated" in line for line in lines) == 2


def test_nothing_of_the_page_needs_a_fixed_number_of_figures(made):
    content = with_one_quantity(made["one"])
    whole = page.render(content).count("<figure>")
    q = content["methods"][0]["quantities"][0]
    q["curves"], q["points"], q["groups"] = {}, None, {}
    q["metrics"]["rmse"] |= {"low": None, "high": None}
    assert whole > 4
    assert page.render(content).count("<figure>") == 0


def test_a_method_keeps_its_colour_where_another_lacks_the_quantity(made):
    content = with_one_quantity(made["two"])
    content["methods"][1]["quantities"] = made["two"]["methods"][1]["quantities"]
    energy, forces = (page.text.names(content).index(n) for n in ("energy", "forces"))
    assert energy == 0
    assert forces > 0
    html = page.render(content)
    section = html[html.index('<section class="quantity" id="forces"') :].split("</section>")[0]
    assert "var(--method1)" in section
    assert "var(--method0)" not in section


def test_trust_is_told_of_what_was_judged():
    def headline(**kinds):
        parts = [{"label": k.replace("_", " "), "verdict": {"kind": v}} for k, v in kinds.items()]
        return text.method_headline({"verdict": {"kind": "trust"}, "quantities": parts})

    assert headline(energy="trust", forces="trust") == "Trust"
    assert headline(energy="unknown", forces="trust") == "Trust forces"
    assert headline(energy="unknown", a="trust", b="trust", c="trust") == "Trust in part"


def test_a_factor_is_told_for_what_it_is_a_factor_of():
    def method(**kinds):
        parts = [
            {"label": name.replace("_", " "), "verdict": {"kind": kind, "stretch": factor}}
            for name, (kind, factor) in kinds.items()
        ]
        worst = max((q["verdict"]["stretch"] or 0) for q in parts)
        return {"verdict": {"kind": "stretch", "stretch": worst}, "quantities": parts}

    alone = method(stress=("stretch", 43.0), forces=("trust", None))
    assert text.method_headline(alone) == "Stretch stress by 43"
    both = method(forces=("stretch", 2.0), force_vectors=("stretch", 2.1))
    assert text.method_headline(both) == "Stretch by 2.1"
    apart = method(forces=("stretch", 2.0), stress=("stretch", 43.0))
    assert text.method_headline(apart) == "Stretch each quantity by its own factor"
