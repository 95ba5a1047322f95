from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.logconfigs.noop import NoopLogging

executor = HighThroughputExecutor(address="127.0.0.1", max_workers_per_node=2)
config = Config(executors=[executor], initialize_logging=NoopLogging())
