"""Wait for something to become true in a page."""

TIMEOUT = 20_000  # milliseconds


def wait_until(page, condition, argument=None):
    """Wait until a JavaScript expression, in which `argument` can be used, is true.

    Playwright's `wait_for_function` evaluates strings inside of the page, which the demo's
    Content-Security-Policy rightly refuses.
    """
    page.evaluate(
        f"""argument => new Promise((resolve, reject) => {{
            const deadline = performance.now() + {TIMEOUT};
            const look = () => {{
                if ({condition}) resolve();
                else if (performance.now() > deadline) reject(new Error("it did not become true"));
                else setTimeout(look, 10);
            }};
            look();
        }})""",
        argument,
    )
