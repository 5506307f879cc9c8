"""Flights through a local AWS whose functions are killed and run out of time, and whose storage is in a storm."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter

from airlines_cloud import check_against_local, check_broken, check_landed, disturbed, lines, upload  # noqa: F401
from cloud import FUNCTIONS, local_cloud, stack  # noqa: F401
from storm import Storm
from test_airlines import check

PART = 20_000
"""Events that are sent."""
KILLS = 40
SHORT = 5
"""Seconds that a function has while storage is in a storm."""


class Reaper(threading.Thread):
    """Kills processes of a stack's functions at random moments, until it is told to end; after so many more rarely, so that there are some that live
    until their time runs out."""

    def __init__(self, cloud, seed):
        super().__init__(daemon=True)
        self.cloud, self.chance, self.killed, self.is_over = cloud, random.Random(seed), Counter(), threading.Event()

    def run(self):
        while not self.is_over.wait(self.pause()):
            running = self.cloud.cloud.functions()
            ours = [pid for pid, variables in running.items() if variables["AWS_LAMBDA_FUNCTION_NAME"].startswith(self.cloud.name + "-")]
            if ours:
                pid = self.chance.choice(ours)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed[running[pid]["_HANDLER"]] += 1

    def pause(self):
        """Seconds until the next one is killed."""
        return self.chance.uniform(0.2, 1) if self.killed.total() < KILLS else self.chance.uniform(SHORT, 2 * SHORT)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.join()


def wake(cloud, is_over):
    """Wakes gold and compact as impatient timers would; what fails is done by the next."""
    while not is_over.wait(2):
        for name in ("gold", "compact"):
            cloud.functions.invoke(FunctionName=f"{cloud.name}-{name}", Payload=b"{}")


def timed_out(cloud):
    """How often a function's time ran out."""
    return sum("Task timed out" in line for name in FUNCTIONS for line in cloud.logged(name))


def has_met_all(cloud, storm, reaper):
    """Whether time ran out, each weather was there, and each of the functions that work all the while was killed."""
    killed = [reaper.killed[name] for name in ("bronze-events", "silver", "gold", "compact")]
    return min(*killed, *(storm.seen[fate] for fate in storm.weather)) > 0 and timed_out(cloud) > 0


def test_kills_time_outs_and_a_storm_in_storage_change_no_row(airlines, lines, events, stack, local_cloud):  # noqa: F811
    cloud = stack(airlines.folder)
    cloud.come_again_after(seconds=4, receives=1000)
    upload(cloud, airlines)
    sent, broken = disturbed(lines[:PART], seed=2)
    with Storm(local_cloud.port, seed=3, stall=SHORT + 2) as storm:
        cloud.configure(SHORT, AWS_ENDPOINT_URL=storm.endpoint)
        storm.rages = True
        with Reaper(cloud, seed=4) as reaper:
            timers = threading.Thread(target=wake, args=(cloud, reaper.is_over))
            timers.start()
            cloud.send(sent)
            while reaper.killed.total() < KILLS or (not has_met_all(cloud, storm, reaper) and reaper.killed.total() < 2 * KILLS):
                time.sleep(0.5)
        timers.join()
        storm.rages = False
        cloud.configure(60)
        cloud.settle()
        airlines.write("part.ndjson", "\n".join(lines[:PART]))
        airlines.run("replay", "part.ndjson", "--to", "flights")
        airlines.run("run")
        check(cloud, events[:PART])
        check_against_local(cloud, airlines)
        check_broken(cloud, broken)
    check_landed(cloud, sent, broken)
    print(f"killed {dict(reaper.killed)}, timed out {timed_out(cloud)}, requests {dict(storm.seen)}")
    assert has_met_all(cloud, storm, reaper)
