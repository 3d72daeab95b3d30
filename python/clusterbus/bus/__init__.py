"""The public face: a member of a cluster inside a Python program.

Keyword arguments in, typed events and frozen snapshots out; a user never touches the state itself. Its files in
reading order:

    owner          the thread and process that a bus belongs to
    slot_orders    slots and roles by the word of the program
    any_bus        what both buses share: reading the state, and orders that do not wait
    event_streams  `events()` of both, and what a type checker makes of it
    waiting        waiting for a condition on asyncio
    bus            `Bus`, on asyncio
    blocking_bus   `BlockingBus`, driven by the calls of a plain thread
"""
