"""Events, messages and snapshots for the program that a node lives in: bounded, in order, every loss reported.

Its files in reading order:

    backlog         the bounded queue of one consumer, and the async iterator over it
    event_stream    typed events of the state, behind `Bus.events()`
    message_stream  published messages, behind `Bus.subscribe()`
    snapshots       frozen records of nodes, slots and links

A consumer that is too slow loses items. It finds their number exactly where they are missing. Main thread.
"""
