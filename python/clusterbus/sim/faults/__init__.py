"""What a simulated cluster suffers in a scenario.

stage      who may suffer: the draws of hosts and of lengths
hosts      processes that die or hang, power cuts, full disks
paths      partitions, loss, delay, connections that break
damage     members whose packets say what no honest member says
operators  what operators order meanwhile
repairs    what an operator mends when the faults are over
table      all faults with their weights
"""
