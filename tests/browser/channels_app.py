"""Channels for those who have logged in: a cookie says who somebody is, for a time.

Its CORS lets every page read everything: what protects the channels is the check of the origin.
"""

import secrets
import time
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from resumable_io import Streams
from resumable_io.channels import Principal, cookie
from resumable_io.starlette import channel_endpoint

streams = Streams()
sessions = {}


@asynccontextmanager
async def lifespan(app):
    async with streams:
        yield


async def authorize(connection, channel):
    own = f"http://{connection.headers['host']}"  # a test may believe it: the port is any
    return await cookie("session", find, own)(connection, channel)


def find(session):
    """Return whose session it is, if it still is one."""
    principal = sessions.get(session)
    return principal if principal and principal.expires_at > time.time() else None


async def page(request):
    return HTMLResponse("<!doctype html><title>Channels</title><link rel=icon href='data:,'>")


async def login(request):
    """Begin the session of a user, or go on with it, for some seconds."""
    name, seconds = request.path_params["name"], request.path_params["seconds"]
    session = request.cookies.get("session") or secrets.token_urlsafe()
    sessions[session] = Principal(name, name, may_publish=True, expires_at=time.time() + seconds)
    response = Response()
    response.set_cookie("session", session, httponly=True, samesite="lax")
    return response


app = Starlette(
    routes=[
        Route("/", page),
        Route("/login/{name}/{seconds:float}", login, methods=["POST"]),
        Route(
            "/channels/{channel}",
            channel_endpoint(streams, authorize, authorize_publish=authorize, retry=50),
            methods=["GET", "POST"],
        ),
    ],
    middleware=[
        Middleware(
            CORSMiddleware,
            allow_origin_regex=".*",
            allow_credentials=True,
            allow_methods=["POST"],
            allow_headers=["content-type"],
        )
    ],
    lifespan=lifespan,
)
