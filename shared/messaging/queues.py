"""How the queues are made. What makes them says the same (infra/), and what works with them keeps to it.

Neither is partitioned: a partitioned queue that detects duplicates refuses every batch (azure-sdk-for-python#36333).
How long duplicates are remembered has to be said: the service's own default is one minute (azure-docs#126434).
"""

from datetime import timedelta

LOCK = timedelta(minutes=5)  # the longest there is; nobody renews the lock of a batch
MAX_DELIVERIES = 10
DUPLICATES_REMEMBERED = timedelta(minutes=10)
MESSAGES_AT_ONCE = 1000  # that a batch function is called with
GATHERED_WITHIN = timedelta(minutes=1)  # where fewer are waiting: how far behind usage may be
DELIVERY_SECONDS = 30.0  # for one such call: then what is left is sent again, long before the lock is lost
SENDING_SECONDS = 80.0  # for that, pauses for a broker that takes nothing included
