"""Damaged copies of real packets, thrown at a running node: `make mutate`, and a small part of it as a test.

Everything follows from a seed and the number of a packet, so what fails can be thrown again. Its files in reading
order:

    originals  the sound packets: captured from real servers, and one of each kind that our encoder makes
    layout     where the fields of a packet are, and what their extremes are
    damage     what becomes of a sound packet
    town       the attackers' sockets: liars that the node knows, strangers, one good peer
    positions  where a packet is thrown from: a known node, a stranger, a handshake, with a light header
    watch      what must hold all along: answers, well-formed tables, counters of faults, memory
    campaign   so many packets against one node, then its restart
    __main__   the program: arguments, progress, the table at the end
"""
