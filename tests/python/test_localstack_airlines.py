"""January's flights through a local AWS: messages through SQS, files through S3, gold as on one machine."""

from airlines_cloud import check_against_local, check_broken, check_landed, disturbed, lines, upload  # noqa: F401
from cloud import local_cloud, stack  # noqa: F401
from test_airlines import check, replay


def test_a_month_through_queues_and_buckets_gives_the_gold_of_one_machine(airlines, lines, events, stack):  # noqa: F811
    cloud = stack(airlines.folder)
    cloud.come_again_after(seconds=60, receives=5)
    upload(cloud, airlines)
    sent, broken = disturbed(lines, seed=1)
    cloud.send(sent)
    replay(airlines)
    airlines.run("run")
    cloud.settle()
    check(cloud, events)
    check_against_local(cloud, airlines)
    check_broken(cloud, broken)
    check_landed(cloud, sent, broken)
