"""A live page of the city and the pipeline. Needs the extra `dashboard`. It only reads.

Holds: what is asked (`queries`, `pipeline_watch`, `trip`, `shared`), what is shown (`view`, `strip`, `city_page`,
`zone_panel`, `trip_page`), and `server`, behind `guard`.
May import: errors, settings, telemetry, keyed, model, assembly, connectors, synthetic, running, operation.
"""
