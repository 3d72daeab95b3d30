"""The checks: each a function of the evidence, which yields its findings and knows nothing of the others.

Its files in reading order:

    nodes     who is there, as what, and where: phantom and double primaries, failed nodes, stale addresses
    links     who hears whom: pieces, one-sided links, nodes that are not known or not let in
    slots     what is owned by whom: slots open or without owner, epochs, views that differ
    settings  versions and directives that differ, and what could not be asked

`findings` puts them together.
"""
