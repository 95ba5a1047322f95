from parsl.config import Config
from parsl.executors import HighThroughputExecutor

config = Config(executors=[HighThroughputExecutor(address="127.0.0.1", max_workers_per_node=2)])
