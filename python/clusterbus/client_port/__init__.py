"""The port for clients: Valkey's protocol on asyncio, and the commands answered there.

    server -> connection -> requests   bytes of one client into words
                         -> registry   words into a command, or Valkey's error; gates (routing) may refuse it
                         -> commands   a handler: (member, client, arguments) -> reply
                         -> reply      the answer as RESP2 or RESP3 bytes

A handler works on the `Member`: it reads the state, or orders something of it and settles. Main thread.
"""
