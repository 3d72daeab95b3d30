"""Slots that a program takes: by the votes of a majority of the members, and held by a lease of a majority.

A failover needs a replica, and a config epoch that a node takes alone (BUMPEPOCH) is neither unique nor a majority's
word. So the nodes of our own kind vote by MODULE messages, which other servers leave unread.

**The vote.** A candidate takes the next epoch and asks all members. A voter gives one vote in an epoch, to whomever,
replicas in elections included, and it is on disk before it is sent. It votes if the slots have no owner, if it too
holds the owner PFAIL or FAIL, or if the candidate says that it means a living owner. With the votes of a majority the
candidate takes the slots under that epoch: the epoch is the fencing token. No other candidate has it, even if a crash
takes it back before a slow disk has kept it, since the voters have kept their votes.

**The lease.** Who holds slots asks all members for a promise, four times in a node timeout. A voter that promised a
slot to one node gives it to no other, and does not vote for one, until the promise is over: a node timeout after it was
asked. The holder counts on it for less, from the moment at which it asked. So two nodes never hold a slot at once, and
one that lost the majority knows it within the node timeout, whatever the epochs are.

**The members.** All nodes of the table count, those that are down too, but for servers of another kind, which do not
vote. So members that were added on one side of a partition can form a second majority: `votes_min` prevents that.

    letters     the form of the messages
    electorate  who counts, who can be reached, and who is of our kind
    promises    promises, as a holder and as a voter
    voting      our vote for another node
    taking      `take_slots`: rounds of votes until there is a majority
    giving      `move_slots`: another node is told to take slots of ours
    post        what a letter is for, and the tick
"""
