"""A real browser: Debian's chromium, or the one that CHROMIUM names, headless."""

import os
from contextlib import ExitStack

import pytest
from playwright.sync_api import sync_playwright

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=FLAGS
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Open an address in a new tab; the tabs of a test share a profile. A script's error fails."""
    errors = []

    def note(error):
        errors.append(error)

    with ExitStack() as stack:
        context = stack.enter_context(browser.new_context())
        context.set_default_timeout(20_000)

        def open_page(url):
            page = context.new_page()
            page.on("pageerror", note)
            page.goto(url)
            return page

        yield open_page
    assert not errors
