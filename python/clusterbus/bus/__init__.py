"""The public face: a member of a cluster inside a Python program.

Keyword arguments in, typed events and frozen snapshots out; a user never touches the state itself. Its files in
reading order:

    owner             the thread and process that a bus belongs to
    slot_orders       slots and roles by the word of the program
    any_bus           what both buses share: reading the state, and orders that do not wait
    waiting           waiting for a condition on asyncio
    event_streams     `events()` of both, and what a type checker makes of it
    bus               `Bus`, on asyncio
    blocking_streams  messages and events for threads
    turn_taking       each call of a `BlockingBus` is a turn, so that threads can share it
    blocking_bus      `BlockingBus`, driven by the calls of a plain thread or by a thread of its own
"""
