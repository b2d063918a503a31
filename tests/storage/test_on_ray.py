"""Artifacts in a bucket, the work on a Ray cluster: the tables of one machine with a folder."""

from pipeline.engine.cluster import Needs, RayCluster
from pipeline.engine.on_ray import on_ray
from tests.engine.nodes import nodes
from tests.storage.conftest import Finished, Server, in_bucket, tables


def test_nodes_write_into_a_bucket(s3: Server, finished: Finished) -> None:
    there = in_bucket(finished.here.root)
    with nodes(2) as cluster:  # begun now: its nodes have the keys of this environment
        place, stages = RayCluster(address=cluster.address), there.chain()
        needs = {stage.name: Needs(cpus=0.5) for stage in stages}
        there.run(stages, engine=lambda log: on_ray(log, place, needs))
        assert cluster.quiet()
    assert tables(there.store) == tables(finished.here.store)
    assert there.outcome.quarantined == finished.here.outcome.quarantined == {"x.txt"}
