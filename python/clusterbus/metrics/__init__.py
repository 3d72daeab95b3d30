"""Metrics and health of a member: which numbers there are, a snapshot of them, and Prometheus' text.

Its files in reading order:

    table     every metric: name, type, labels, help; docs, dashboard and alert rules are held to it
    health    whether the node is ready, and why not
    snapshot  the numbers of one moment, taken on the main loop
    text      the exposition format, made of a snapshot piece by piece

Names are redis_exporter's (`redis_cluster_...`) where it has one for the same number, `clusterbus_...` otherwise. Must
never know a web server, nor hold the main loop up: for 2,000 nodes each piece of work stays below 2 ms. Main thread.
"""
