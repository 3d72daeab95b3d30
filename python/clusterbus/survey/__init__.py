"""What the nodes of a cluster say at their client ports, and what is wrong in it.

`asking` begins at one or more seeds, asks every node that any of them names, and returns a `Survey`: for each address
an `Answer`, or the reason why there is none. Nothing that is sent changes anything, and a command that a node refuses
(an ACL, a renamed command, a managed service) costs only what it would have told. What follows from a survey are pure
functions of it, so the same functions judge a real cluster and one that a test has written down.

Its files in reading order:

    access      how one gets in: user, password, TLS
    node_rows   CLUSTER NODES and CLUSTER LINKS as records, shared among the views that say the same
    asking      the questions, and `Survey`
    observed    what an observer on the bus sees, as one answer more
    evidence    a survey turned round: what is said of each node and by whom, and who says the same
    finding     one thing that does not fit, and how grave it is
    symptoms/   the checks
    findings    all of them, and what two looks both show
    polling     asking every node again and again, each at its own pace
    spread      how long a change takes until all nodes show it
    observer    a look from within: a member that only watches, and leaves without a trace

Knows no terminal: it runs in any program that has an event loop. But for `observer`, it knows no member either.
"""
