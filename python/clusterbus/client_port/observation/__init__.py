"""What the client port notes of the commands that it runs, for SLOWLOG, LATENCY, MONITOR, INFO and CLUSTER SLOT-STATS.

Its files in reading order:

    observer       runs a call, and tells the others what came of it
    command_stats  calls, errors and times of each command
    histogram      times in buckets, of which percentiles are read
    command_log    SLOWLOG and COMMANDLOG: the last slow and large requests
    latency        LATENCY: spikes over a threshold
    monitors       MONITOR: clients that see every request
    slot_stats     CLUSTER SLOT-STATS: time and bytes of each slot
    login_log      ACL LOG: logins that failed
    shown_words    a request as logs and monitors show it, without its secrets

Everything here is bounded, and nothing of it may change what a client is answered. Main thread.
"""
