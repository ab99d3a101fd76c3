"""Asks the kernel to let the gate go first: its pulses are short, and late ones let parts escape."""

import logging
import os

log = logging.getLogger(__name__)

REAL_TIME_PRIORITY = 10


def go_first() -> bool:
    """This process before all ordinary ones (SCHED_FIFO), where it may: systemd gives leave with LimitRTPRIO= or CAP_SYS_NICE."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REAL_TIME_PRIORITY))
    except OSError as e:
        log.info("no real-time priority for the gate (%s): its pulses are as late as other processes make them", e.strerror)
        return False
    return True
