"""What must hold, as functions from what was seen to findings. No I/O here but in `vitals.read`; tests break each once.

Its files in reading order:

    messages   every published message: delivered, lost for a named reason, or a finding
    ownership  CLUSTER NODES of all: no slot of two, agreement
    vitals     memory, descriptors and threads: flat after the warm-up
    logs       nothing unhandled: tracebacks, panics, counters of faults
"""
