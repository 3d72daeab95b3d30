"""Orders of a program about slots and roles, each as steps: done when it is done as far as that can be known.

Each order is a generator that yields while it waits; both buses drive it, each in its own way, and close it if nobody
waits any more. What is refused changes nothing.

    named        how a program names slots
    waits        take, move, replicate, failover, and what each waits for
    by_commands  slots that move to a server of another kind, by CLUSTER SETSLOT at its client port
"""
