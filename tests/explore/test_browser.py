"""The page in a browser: no request, no error, the same pictures as Python's, every control."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import HOSTILE

import pyro_vae as pv
from pyro_vae.explore import explorer_page

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("Chromium is not there", allow_module_level=True)

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
SLOW = 120_000  # milliseconds: machines are shared
SIDE = 8


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS], timeout=SLOW)
        yield browser
        browser.close()


class Opened:
    """A page with what it asked for and complained of."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.page = browser.new_page(**{"viewport": {"width": 1200, "height": 1000}, **options})
        self.page.set_default_timeout(SLOW)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.errors.append(m.text))  # fmt: skip
        self.page.goto(path.as_uri(), wait_until="commit")
        self.wait("window.explorer && window.explorer.ready")

    def wait(self, condition: str) -> None:
        self.page.wait_for_function(f"() => {condition}")

    def do(self, script: str) -> Any:
        return self.page.evaluate(script)

    def state(self, name: str) -> Any:
        return self.do(f"JSON.parse(JSON.stringify(explorer.store.state.{name}))")

    def settle(self) -> None:
        """Until the page shows what it was told."""
        self.do("new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def close(self) -> None:
        self.page.close()
        assert not self.errors
        assert not [
            url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))
        ]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, pv.VAE]]:
    """Pages of small models: images with a third, dead feature, a hierarchy, a table with a
    condition, bits."""
    torch.manual_seed(0)
    folder, found = tmp_path_factory.mktemp("pages"), {}
    N, MLP, shape = pv.posteriors.MeanFieldNormal, pv.nn.MLP, (1, SIDE, SIDE)
    encoder = MLP(shape, [16], 6, scale=16.0)
    with torch.no_grad():
        encoder.layers[-1].weight[2] = encoder.layers[-1].bias[2] = 0.0
        encoder.layers[0].weight *= 8
    x = torch.randint(17, (60, *shape)).float() * (torch.rand(60, 1, 1, 1) < 0.7)
    likelihood = pv.likelihoods.Binomial(MLP(3, [16], shape), 16, event_dim=3)
    likelihood.decoder.layers[-1].weight.data *= 4
    found["images"] = pv.VAE(pv.priors.StandardNormal(3), likelihood, N(encoder)), x, {}
    prior = pv.Sites(z2=pv.priors.StandardNormal(2), z1=N(MLP(2, [8], 6)).given("z2"))
    posterior = pv.Sites(z1=N(MLP(shape, [8], 6)), z2=N(MLP(3, [8], 4)).given("z1"))
    low = pv.likelihoods.Bernoulli(MLP(3, [8], shape), event_dim=3).given("z1")
    found["layers"] = pv.VAE(prior, low, posterior), (x > 8).float(), {}
    table = pv.likelihoods.Gaussian(pv.nn.Join(MLP(4, [8], 5), (1, 1))).given("z", "c")
    q = N(pv.nn.Join(MLP(7, [8], 4), (1, 1))).given("x", "c")
    c = torch.eye(2)[torch.arange(60) % 2]
    found["table"] = pv.VAE(pv.priors.StandardNormal(2), table, q), torch.randn(60, 5), {"c": c}
    bits = pv.likelihoods.Bernoulli(MLP(4, [8], shape), event_dim=3)
    q = pv.posteriors.Bernoulli(MLP(shape, [8], 4))
    found["bits"] = pv.VAE(pv.priors.Bernoulli(4), bits, q), (x > 8).float(), {}
    pages = {}
    for name, (vae, rows, known) in found.items():
        path = folder / f"{name}.html"
        split = pv.data.as_split(rows, **known)
        path.write_text(explorer_page(vae, split, title=name, run="runs/it"), encoding="utf-8")
        pages[name] = (path, vae)
    grid = folder / "grid.html"
    grid.write_text(explorer_page(found["images"][0], x, grid=True), encoding="utf-8")
    pages["grid"] = (grid, found["images"][0])
    return pages


@pytest.fixture
def opened(browser: Any, models: Any) -> Iterator[Any]:
    pages = []

    def open_page(name: str, **options: Any) -> Opened:
        pages.append(Opened(browser, models[name][0], **options))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


def test_decoded_images_are_those_of_python(opened, models):
    page, vae = opened("images"), models["images"][1]
    z = torch.randn(20, 3)
    script = f"{z.tolist()}.map((z) => Array.from(explorer.model.decode({{z: {{z: Float32Array.from(z)}}, c: {{}}}}, 'z').mean))"  # fmt: skip
    found = torch.tensor(page.do(script)).reshape(20, 1, SIDE, SIDE)
    torch.testing.assert_close(found / 16, pv.evaluate.decode(vae, z) / 16, atol=1e-3, rtol=0)


def test_layers_tables_and_bits_are_those_of_python(opened, models):
    page, vae = opened("layers"), models["layers"][1]
    z2, z1 = torch.randn(1, 2), torch.randn(1, 3)
    script = f"Array.from(explorer.model.decode({{z: {{z2: Float32Array.from({z2[0].tolist()}), z1: Float32Array.from({z1[0].tolist()})}}, c: {{}}}}, 'z1').mean)"  # fmt: skip
    expected = pv.evaluate.decode(vae, torch.cat([z2, z1], 1)).flatten()
    torch.testing.assert_close(torch.tensor(page.do(script)), expected, atol=1e-3, rtol=0)
    page, vae = opened("table"), models["table"][1]
    script = f"Array.from(explorer.model.decode({{z: {{z: Float32Array.from({z2[0].tolist()})}}, c: {{c: Float32Array.of(0, 1)}}}}, 'z').mean)"  # fmt: skip
    expected = pv.evaluate.decode(vae, z2, c=torch.tensor([[0.0, 1.0]])).flatten()
    torch.testing.assert_close(torch.tensor(page.do(script)), expected, atol=1e-3, rtol=0)


def test_encoding_is_that_of_python(opened, models):
    page, vae = opened("images"), models["images"][1]
    found = page.do("(() => { const f = explorer.model.look(explorer.model.data[7], {}); return [Array.from(f.loc.z), Array.from(f.scale.z), f.bound.mean, f.bound.error, explorer.model.scores.elbo[7], Array.from(explorer.model.data[7])] })()")  # fmt: skip
    x = torch.tensor(found[5]).reshape(1, 1, SIDE, SIDE)
    moments = pv.encode(vae, x)
    torch.testing.assert_close(torch.tensor(found[:1]), moments.loc, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(torch.tensor(found[1:2]), moments.scale, atol=2e-3, rtol=2e-3)
    many = float(pv.elbo(vae, x, 4000)[0])
    assert abs(found[2] - many) < 5 * found[3] + 0.1


def test_the_map_decodes_under_the_pointer_and_takes_data(opened):
    page = opened("images")
    box = page.page.locator(".over").bounding_box()
    at = lambda a, b: page.page.mouse.move(box["x"] + a * box["width"], box["y"] + b * box["height"])  # noqa: E731  # fmt: skip
    at(0.3, 0.3)
    page.settle()
    assert page.page.locator("#point h2 span").inner_text() == "Under the pointer"
    first = page.do("Array.from(explorer.shown.mean)")
    at(0.7, 0.6)
    page.settle()
    assert page.do("Array.from(explorer.shown.mean)") != first
    at(0.02, 0.02)
    page.settle()
    assert "Nobody lives here" in page.page.locator("#dense").inner_text()
    row = page.do("explorer.map.toPixels(11)")
    page.page.mouse.move(box["x"] + row[0], box["y"] + row[1])
    page.page.mouse.down()
    page.page.mouse.up()
    page.settle()
    taken = page.state("row")
    assert taken is not None and "Row" in page.page.locator("#where").inner_text()
    assert page.page.locator("#given").is_visible()


def test_sliders_move_features_and_dead_ones_are_greyed(opened):
    page = opened("images")
    assert "2 of 3 features are active" in page.page.locator("#features-body").inner_text()
    dead = page.page.locator(".feature.dead input")
    assert dead.count() == 1 and dead.get_attribute("data-feature") == "2"
    before = page.do("Array.from(explorer.shown.mean)")
    slider = page.page.locator(".feature:not(.dead) input").first
    slider.evaluate("(s) => { s.value = s.max; s.dispatchEvent(new Event('input')); }")
    page.settle()
    feature = int(slider.get_attribute("data-feature"))
    assert page.state(f"point.z.z[{feature}]") == pytest.approx(float(slider.input_value()), abs=0.01)  # fmt: skip
    assert page.do("Array.from(explorer.shown.mean)") != before and page.state("row") is None


def test_pins_and_what_lies_between(opened):
    page = opened("images")
    page.page.click("#pin")
    page.page.locator("#neighbours button").nth(6).click()
    page.settle()
    page.page.keyboard.press("p")
    page.settle()
    assert page.page.locator("#pinned .pinned").count() == 2
    assert page.page.locator("#path canvas").count() == 9
    page.page.locator("#walk").evaluate("(s) => { s.value = 0.5; s.dispatchEvent(new Event('input')); }")  # fmt: skip
    page.settle()
    ends, middle = page.state("pins"), page.state("point.z.z")
    for d in range(3):
        mean = (ends[0]["z"]["z"][str(d)] + ends[1]["z"]["z"][str(d)]) / 2
        assert middle[str(d)] == pytest.approx(mean, abs=1e-4)
    page.page.locator("#pinned .drop").first.click()
    page.settle()
    assert len(page.state("pins")) == 1 and not page.page.locator("#path").is_visible()
    page.page.click("#unpin")
    page.settle()
    assert page.state("pins") == []


def test_colour_axes_densities_and_classes(opened):
    page = opened("images")
    picture = lambda: page.do("document.querySelector('.base').toDataURL()")  # noqa: E731
    seen = [picture()]
    for action in (
        lambda: page.page.select_option("#colour", "kl"),
        lambda: page.page.select_option("#axis1", "1"),
        lambda: page.page.uncheck("#shaded"),
        lambda: page.page.keyboard.press("+"),
    ):
        action()
        page.page.locator("h1").click()
        page.settle()
        seen.append(picture())
    assert len({*seen}) == 5
    assert page.state("axes") == ["1", "p"] and page.state("colour") == "kl"


def test_the_address_keeps_what_is_shown(browser, models, opened):
    page = opened("images")
    page.page.locator("#neighbours button").nth(3).click()
    page.page.click("#pin")
    page.page.select_option("#colour", "elbo")
    page.page.keyboard.press("ArrowRight")
    page.wait("location.hash.includes('pins') && location.hash.includes('elbo')")
    page.page.wait_for_timeout(400)
    again = Opened(browser, models["images"][0])
    again.close()
    address, point = page.page.url, page.state("point.z.z")
    page.page.goto("about:blank")
    page.page.goto(address, wait_until="commit")
    page.wait("window.explorer && window.explorer.ready")
    assert page.state("colour") == "elbo" and len(page.state("pins")) == 1
    kept = page.state("point.z.z")
    assert [*kept.values()] == pytest.approx([*point.values()], abs=1e-3)


def test_keys_move_draw_and_turn_dark(opened):
    page = opened("images")
    start, draw = page.state("point.z.z"), page.do("Array.from(explorer.shown.draw)")
    page.page.locator(".over").focus()
    page.page.keyboard.press("Shift+ArrowUp")
    page.settle()
    assert page.state("point.z.z") != start
    page.page.keyboard.press("n")
    page.settle()
    assert page.state("row") is not None
    page.page.keyboard.press("d")
    page.settle()
    assert page.do("Array.from(explorer.shown.draw)") != draw
    page.page.keyboard.press("t")
    page.settle()
    assert page.do("document.documentElement.dataset.theme") == "dark"
    page.page.keyboard.press("?")
    assert page.page.locator("dialog").is_visible()
    page.page.locator("dialog button").click()
    page.page.wait_for_selector("dialog", state="detached")


def test_drawing_an_image_encodes_it(opened):
    page = opened("images")
    box = page.page.locator("#pad").bounding_box()
    page.page.mouse.move(box["x"] + 30, box["y"] + 30)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 60, box["y"] + 70, steps=4)
    page.page.mouse.up()
    page.settle()
    assert "ELBO" in page.page.locator("#terms").inner_text()
    assert "your own x" in page.page.locator("#given").inner_text()
    own = page.state("own.x")
    assert max(own.values()) == 16 and all(v == int(v) for v in own.values())
    page.page.click("#invert")
    page.settle()
    assert page.state("own.x")["0"] == 16 - own["0"]


def test_the_snippet_reproduces_the_point(opened, models, monkeypatch):
    for name in ("images", "layers", "table"):
        page = opened(name)
        page.page.click("#copy")
        page.wait("window.explorer.copied")
        monkeypatch.setattr(pv, "load", lambda run, name=name: models[name][1])
        values: dict[str, Any] = {}
        exec(page.do("explorer.copied"), values)
        if name != "layers":  # of which the lower layer is drawn
            shown = torch.tensor(page.do("Array.from(explorer.shown.mean)"))
            scale = 16 if name == "images" else 1
            torch.testing.assert_close(shown / scale, values["mean"].flatten() / scale, atol=1e-3, rtol=0)  # fmt: skip
        assert values["draw"].shape == values["mean"].shape


def test_tabs_conditions_and_switches(opened):
    page = opened("layers")
    page.page.click("[role=tab][data-site=z1]")
    page.settle()
    assert page.state("site") == "z1" and "3 of 3" in page.page.locator("#features-body").inner_text()  # fmt: skip
    page = opened("table")
    before = page.do("Array.from(explorer.shown.mean)")
    page.page.click("#conditions [role=radio][aria-checked=false]")
    page.settle()
    assert page.do("Array.from(explorer.shown.mean)") != before
    assert page.page.locator("#columns .column").count() == 5
    page.page.click("#own summary")
    page.page.fill("#own .fields input >> nth=0", "2.5")
    page.page.click("#encode")
    page.settle()
    assert "ELBO" in page.page.locator("#terms").inner_text()
    page = opened("bits")
    switch = page.page.locator("#features-body [role=switch]").first
    on = switch.get_attribute("aria-checked")
    switch.click()
    page.settle()
    assert switch.get_attribute("aria-checked") != on


def test_a_grid_says_so_and_shows_its_nearest_point(opened):
    page = opened("grid")
    assert "decoded beforehand" in page.page.locator("#features-body").inner_text()
    assert page.do("explorer.shown.draw") is None and not page.page.locator("#draw").is_visible()
    means = page.do("[[-1, 0], [1, 0]].map(([a, b]) => { const z = explorer.model.sites[0].centre.map((v, d) => v + a * explorer.model.sites[0].directions[0][d]); return explorer.model.decode({z: {z}, c: {}}, 'z').mean[0] })")  # fmt: skip
    assert means[0] != means[1]


def test_it_fits_narrow_and_dark_windows(opened):
    for name in ("images", "table"):
        page = opened(name, viewport={"width": 400, "height": 800}, color_scheme="dark")
        wide = page.do("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0 and page.do("document.documentElement.dataset.theme") == "dark"


def test_hostile_names_do_nothing(browser, tmp_path):
    """Columns, classes, categories, title and run that are markup and scripts are shown as text."""
    width = len(HOSTILE)
    columns = tuple(pv.data.Column(name, (HOSTILE[0], HOSTILE[1])) for name in HOSTILE)
    x = torch.randint(2, (30, width)).float()
    split = pv.data.Split(x, torch.arange(30) % 3, columns=columns, classes=HOSTILE[:3])
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Gaussian(pv.nn.MLP(2, [4], width)),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(width, [4], 4)),
    )
    path = tmp_path / "page.html"
    path.write_text(explorer_page(vae, split, title=HOSTILE[0], run=HOSTILE[1]), encoding="utf-8")
    page = Opened(browser, path)
    for row in (0, 1):
        page.do(f"explorer.store.set({{take: {row}}})")
        page.settle()
    assert page.do("window.hacked") is None
    assert page.do("document.querySelectorAll('img, #page script').length") == 0
    assert HOSTILE[1] in page.do("document.body.textContent") and page.page.title() == HOSTILE[0]
    page.close()
