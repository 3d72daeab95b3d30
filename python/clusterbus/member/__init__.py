"""One member of a cluster, in whatever world it lives.

Theory of operation
-------------------

A `Member` is a `ClusterState` with what it needs to act: a driver, the data of its user, its subscribers. It knows
neither event loop nor socket nor file. Those are ports (`ports`), which `runtime/` fills with the real world and `sim/`
with a simulated one. Everything above the ports is the same code in both, so what a thousand seeds prove is what users
run (R42).

**A step of the driver.** `Driver.step` polls the engine and applies its events in order. After each event it carries
out the effects of the state; at the end it saves nodes.conf if that is due, publishes the view if the state has
changed, and flushes the engine, which sends what was queued. `Driver.tick` does the same around `ClusterState.tick`.
An order may come at any time between two steps: `Member.settle` carries out its effects and saves, and the rest of a
step follows at the latest at the end of the event loop's round (`schedule_step`).

**The order of effects.** Effects are carried out in the order in which the state gave them, with two exceptions. A save
that need not be durable waits for the end of the step, so that many changes are one write. Heartbeats come last,
because they say what the state is when they are encoded, and that includes what a later save of the same input keeps. A
durable save that fails withholds all that the same input sends after it: no packet may announce what is not on disk
(H47). The failed save is tried again at every tick.

**Links.** A dial is the driver's alone until the engine reports its end; then the state hears of a link or of a
failure. A link is in `Driver.links` from the moment that the state hears of it until it is closed, from either side.
Whoever closes it takes it out first, so each link ends once, and late events of it find nothing. The engine keeps the
socket until `LinkDrained`, which the driver answers with `free`.

**Faults.** An error in our own code or in the user's costs what caused it: a packet its link, a callback its call. It
is counted, logged and survived. In strict mode, which simulations use, it is raised where it happens (`faults`).

Its files in reading order:

    ports               what a member needs: Engine, NodesFile, Clock, Log; and what an engine reports
    driver              events into the state, effects into the engine
    saving              when nodes.conf is written, and what a failed write leaves owed
    member              `Member`: all of it put together, and what commands and both buses may ask of it
    membership          how it joins by seeds, and leaves
    slot_orders         orders of a program about slots and roles, and what they wait for
    pubsub              messages: out to the cluster and to subscribers, and in from the cluster
    subscriptions       who listens to what
    topology            who serves which slots, for clients: pictures and what changes
    glob                patterns of channels
    guarded_data_plane  the user's `DataPlane`, behind a guard
    faults              what becomes of errors in our own code and the user's
    refusals            one log line for each peer and reason in an interval
    counters            names of the counters in INFO

It has more than a dozen files because a member is where everything meets; each is small and knows few of the others.
"""
