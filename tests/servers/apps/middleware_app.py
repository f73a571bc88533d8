"""The FastAPI app behind a middleware that relays responses: Starlette's BaseHTTPMiddleware."""

from tests.servers.apps.fastapi_app import app, streams

__all__ = ["app", "streams"]


@app.middleware("http")
async def add_a_header(request, call_next):
    response = await call_next(request)
    response.headers["x-relayed"] = "yes"
    return response
