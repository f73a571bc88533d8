"""The FastAPI app behind middlewares that relay responses, one inside of the other: Starlette's
BaseHTTPMiddleware twice, and one that compresses between them.
"""

from starlette.middleware.gzip import GZipMiddleware

from tests.servers.apps.fastapi_app import app, streams

__all__ = ["app", "streams"]


@app.middleware("http")
async def relay(request, call_next):
    return await call_next(request)


app.add_middleware(GZipMiddleware)


@app.middleware("http")
async def add_a_header(request, call_next):
    response = await call_next(request)
    response.headers["x-relayed"] = "yes"
    return response
