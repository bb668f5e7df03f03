"""The web page in a real Chromium: chat, keys, colours, facts about the model; and the screenshots in the docs.

LLORCH_SCREENSHOTS=docs/serve regenerates those.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llorch import runtime
from llorch.runtime import Chat, Model, Sampling
from llorch.runtime.serving import Keys
from tests.conftest import REPOSITORY
from tests.runtime.serving.conftest import Served, Start, wait_for

CHECKED = {
    "outcome": "PASSED",
    "run": "r",
    "checks": [
        {
            "name": "round_trip",
            "status": "PASSED",
            "value": "0",
            "threshold": "0",
            "op": "<=",
            "unit": "weights",
        },
        {"name": "logits", "status": "SKIPPED", "value": None, "threshold": None, "op": None, "unit": None},
    ],
}
ORIGIN = {
    "digest": "tree1:" + "b" * 64,
    "kind": "hf-folder",
    "names": ["tiny@latest"],
    "made_by": "01a224f1-29ca-7bf4-aa6b-5a7b6f1eadf5",
    "made_from": ["sha256:" + "c" * 64],
    "sources": [],
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, driven by chromedriver."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="the package selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver)
    made = webdriver.Chrome(options=options, service=service)
    yield made
    made.quit()


@pytest.fixture
def page(served: Served, browser: Any) -> Any:
    """The page, once it shows the model's name."""
    known = replace(served.server.service.card, format="gguf", architecture="llama", verification=CHECKED)
    served.server.service.card = replace(known, provenance={"known": "artifact", "origins": [ORIGIN]})
    return opened(browser, served.uri)


def opened(browser: Any, uri: str, state: str = "ready") -> Any:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.set_window_size(1280, 860)
    browser.get(uri)
    wait_for(lambda: text_of(browser, "#state") == state)
    return browser


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def text_of(browser: Any, selector: str) -> str:
    text: str = browser.execute_script(
        "return document.querySelector(arguments[0])?.textContent ?? ''", selector
    )
    return text


def say(browser: Any, text: str) -> None:
    """Type and send a message by keyboard only."""
    from selenium.webdriver.common.keys import Keys as Key

    browser.switch_to.active_element.send_keys(text, Key.ENTER)


def answers(browser: Any) -> list[str]:
    """The text of all complete answers."""
    script = (
        "return [...document.querySelectorAll('.assistant')].filter(t => t.querySelector('.note'))"
        ".map(t => t.firstChild.nodeType === 3 ? t.firstChild.data : '')"
    )
    found: list[str] = browser.execute_script(script)
    return found


def problems(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def set_value(browser: Any, selector: str, value: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).value = arguments[1]", selector, value)


def test_a_conversation_is_the_runtimes_turn_by_turn(page: Any, alone: Model) -> None:
    problems(page)
    set_value(page, "#tokens", "12")
    chat = Chat(alone)
    for turn, said in enumerate(("hello", "and then?"), start=1):
        say(page, said)
        wait_for(lambda turn=turn: len(answers(page)) == turn)  # type: ignore[misc]
        stream = chat.ask(said, max_new_tokens=12)
        expected = "".join(stream)
        chat.add_answer(stream)
        assert answers(page)[-1] == expected
    assert "12 tokens in" in text_of(page, ".note")
    assert problems(page) == []


def test_the_settings_reach_the_request(page: Any, alone: Model) -> None:
    for selector, value in (
        ("#tokens", "9"),
        ("#temperature", "1.5"),
        ("#seed", "3"),
        ("#system", "be brief"),
    ):
        set_value(page, selector, value)
    say(page, "hello")
    wait_for(lambda: len(answers(page)) == 1)
    chat = Chat(alone, [{"role": "system", "content": "be brief"}])
    expected = "".join(chat.ask("hello", max_new_tokens=9, sampling=Sampling(temperature=1.5, seed=3)))
    assert answers(page) == [expected]


def test_messages_are_shown_as_text_not_as_markup(page: Any) -> None:
    set_value(page, "#tokens", "2")
    say(page, "<img src=x onerror=\"document.title='owned'\"><b>bold</b>")
    wait_for(lambda: len(answers(page)) == 1)
    assert page.execute_script("return document.querySelectorAll('#turns img, #turns b').length") == 0
    assert page.title == "tiny – llorch"
    assert "<b>bold</b>" in text_of(page, ".user")


def test_escape_stops_an_answer_and_the_slot_is_free(
    page: Any, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selenium.webdriver.common.keys import Keys as Key

    step = Model.step

    def slow(self: Model, ids: Any, cache: Any) -> Any:
        time.sleep(0.02)
        return step(self, ids, cache)

    monkeypatch.setattr(Model, "step", slow)
    set_value(page, "#tokens", "1500")
    say(page, "hello")
    wait_for(lambda: len(text_of(page, ".assistant")) > 3)
    page.switch_to.active_element.send_keys(Key.ESCAPE)
    wait_for(lambda: "stopped" in text_of(page, ".note"))
    wait_for(lambda: served.server.service.running == 0)
    assert page.switch_to.active_element.get_attribute("id") == "said"


def test_the_model_its_checks_and_its_provenance_are_shown(page: Any, served: Served) -> None:
    facts = text_of(page, "#facts")
    assert "gguf" in facts
    assert served.server.service.card.digest in facts  # type: ignore[operator]
    assert text_of(page, "#outcome") == "PASSED"
    assert [text_of(page, f"#checks tr:nth-child({n}) td:nth-child(2)") for n in (1, 2)] == [
        "PASSED",
        "SKIPPED",
    ]
    assert ORIGIN["made_from"][0] in text_of(page, "#origins")
    assert text_of(page, "h1") == "tiny"


def test_an_error_is_shown_and_the_typed_text_is_kept(page: Any) -> None:
    set_value(page, "#tokens", "1000000")
    say(page, "hello")
    wait_for(lambda: "positions" in text_of(page, ".error"))
    assert find(page, "#said").get_attribute("value") == "hello"
    assert page.execute_script("return document.querySelectorAll('.assistant').length") == 0


def test_every_control_is_reached_by_the_tab_key_and_has_a_name(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys as Key

    reached = set()
    for _ in range(14):
        reached.add(page.switch_to.active_element.get_attribute("id"))
        page.switch_to.active_element.send_keys(Key.TAB)
    assert reached >= {"said", "send", "clear", "temperature", "seed", "tokens", "system"}
    unnamed = page.execute_script(
        "return [...document.querySelectorAll('input, textarea')]"
        ".filter(e => e.offsetParent && !e.labels.length).map(e => e.id)"
    )
    assert unnamed == []


def contrast(page: Any, selector: str) -> float:
    """WCAG contrast of an element's text against the page's background."""
    script = """
      const linear = (v) => (v <= 10.02 ? v / 3294.6 : ((v / 255 + .055) / 1.055) ** 2.4);
      const rgb = (c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number).map(linear);
      const light = (c) => rgb(c).reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
      const one = light(getComputedStyle(document.querySelector(arguments[0])).color);
      const other = light(getComputedStyle(document.body).backgroundColor);
      return (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
    """
    found: float = page.execute_script(script, selector)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_both_schemes(page: Any, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for selector in ("h1", "h2", "#state", "dt", "dd", "label", "#outcome"):
        assert contrast(page, selector) >= 4.5, selector


def test_nothing_is_wider_than_a_narrow_screen(page: Any) -> None:
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_required_key_is_asked_for_and_used(start: Start, browser: Any) -> None:
    served = start(keys=Keys(["sk-page"]), hosts=None)
    opened(browser, served.uri, "a key is needed: authorization: Bearer …")
    assert find(browser, "#keyed").is_displayed()
    find(browser, "#key").send_keys("sk-page")
    wait_for(lambda: text_of(browser, "#state") == "ready")
    set_value(browser, "#tokens", "3")
    find(browser, "#said").click()
    say(browser, "hello")
    wait_for(lambda: len(answers(browser)) == 1)


@pytest.mark.slow
def test_the_pictures_in_the_docs_are_of_this_page(
    start: Start, browser: Any, real_model: Path, tmp_path: Path
) -> None:
    """The real model's folder and its recorded checks: wide, narrow and dark."""
    from llorch.commands.serve.identity import identify

    folder, registry = tmp_path / "SmolLM2-135M-Instruct", str(tmp_path / "registry.db")
    command = [sys.executable, "-m", "llorch.commands.convert", str(real_model), "-o", str(folder)]
    subprocess.run([*command, "--registry", registry], check=True, capture_output=True)
    served = start(lambda: runtime.load(folder))
    card = replace(served.server.service.card, name=folder.name)
    served.server.service.card = identify(folder, card, registry)
    opened(browser, served.uri)
    say(browser, "Explain gravity in one sentence.")
    wait_for(lambda: len(answers(browser)) == 1, 120)
    pictures = Path(os.environ.get("LLORCH_SCREENSHOTS", tmp_path))
    for name, (width, height) in {"wide": (1280, 800), "narrow": (390, 844), "dark": (1280, 800)}.items():
        scheme = "dark" if name == "dark" else "light"
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "narrow"}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        assert browser.save_screenshot(str(pictures / f"page-{name}.png"))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert text_of(browser, "#outcome") == "PASSED"
    for name in ("wide", "narrow", "dark"):
        assert f"serve/page-{name}.png" in (REPOSITORY / "docs" / "serve.md").read_text()
        assert (REPOSITORY / "docs" / "serve" / f"page-{name}.png").is_file()
