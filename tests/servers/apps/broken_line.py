"""A line that breaks, for the responses of other applications."""

import math


class BrokenLine:
    """Mixed into a response, cuts it off after `budget` bytes: anywhere, even in a character."""

    budget = math.inf

    async def __call__(self, scope, receive, send):
        budget = self.budget

        async def send_within_budget(message):
            nonlocal budget
            body = message.get("body", b"")
            if len(body) > budget:
                await send(message | {"body": body[:budget], "more_body": True})
                raise OSError  # as a server does when the client is gone
            budget -= len(body)
            await send(message)

        await super().__call__(scope, receive, send_within_budget)
