"""The history: what changed in this node's picture of the cluster, why, and who told it.

No rule reports a change. Fields tell of new values themselves, and the inputs say whose word is being applied, so a
rule that is added later is told too.

Its files in reading order:

    change    one entry, the kinds and the causes
    recorder  the ring, and how entries come about
"""
