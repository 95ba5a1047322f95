import pilotage

config = pilotage.config("laptop", max_workers_per_node=2, engine={"relax_collector": True})
