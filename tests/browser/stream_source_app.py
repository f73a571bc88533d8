"""A page with the JavaScript client of the documentation, and answers for it."""

from pathlib import Path

from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tests.js.client.client_app import app

CLIENT = Path(__file__).parents[2] / "docs" / "javascript"

PAGE = """<!doctype html>
<title>A StreamSource</title>
<link rel="icon" href="data:,">
<script type="module">
  import { StreamSource } from "/client/stream-source.js";
  window.received = [];
  window.closes = [];
  const [url, key] = [location.hash.slice(1), "answer"];
  window.source = new StreamSource(url, { method: "POST", body: "x", key });
  source.addEventListener("message", ({ data, replayed }) => received.push([data, replayed]));
  source.addEventListener("close", ({ detail }) => closes.push(detail));
</script>
"""


async def page(request):
    return HTMLResponse(PAGE)


app.router.routes += [Route("/", page), Mount("/client", StaticFiles(directory=CLIENT))]
