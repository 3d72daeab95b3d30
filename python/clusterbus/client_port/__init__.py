"""The client port: Valkey's protocol (RESP) on asyncio, and the commands that a node answers there.

The way of a request:

    server -> connection -> requests   bytes of one client become words
                         -> registry   words become a command, or Valkey's error; gates (routing) may refuse it
                         -> commands   a handler: (member, client, arguments) -> reply
                         -> reply      the reply becomes RESP2 or RESP3 bytes

Its files in reading order, more than a dozen because each is one step of a request's way or one thing kept for it:

    server        the ports, and the table of clients
    port_sockets  their sockets and TLS rules
    connection    one client's connection: order, limits, back-pressure
    client        what the server knows of a client
    requests      the parser of requests
    registry      the command table, and the way from words to a handler
    key_specs     where the keys stand among the words of a request
    routing       the gates that redirect a request to the owner of its slot
    transactions  MULTI, EXEC, DISCARD
    pause         CLIENT PAUSE
    rounds        who serves requests next, and when the rest of the event loop has its turn
    eviction      maxmemory-clients
    observation/  what is kept of commands for SLOWLOG, LATENCY and INFO
    arguments     parsing of command arguments
    reply         replies, and their encoding
    info          the text of INFO
    commands/     the handlers, and their rows of the command table

A handler works on the `Member`: it reads the state, or gives it an order and then settles. Main thread.
"""
