"""HTTP on the port `metrics-port`: metrics, health and a page. Needs aiohttp, the extra `metrics`.

Its files in reading order:

    server   the port: addresses, TLS, limits on connections and time
    access   who may read what
    answers  /metrics, /livez, /readyz
    page     the page for people: its files, /topology.json, /events
    picture  the cluster as JSON, made for all pages together
    feed     server-sent events: what happens

Imported only where `metrics-port` is set. It reads the member and never changes it. A client that hangs, never reads or
never speaks costs a bounded place for a bounded time, and nothing of the main loop's. Main thread.
"""
