"""A live page of the city and the pipeline. Needs the extra `dashboard`. Read-only.

Holds: what is read (`queries`, `city_view`, `trip_history`, `pipeline_watch`, through `shared_queries`), what is shown
(`page_frame`, `strip`, `city_page`, `zone_panel`, `trip_page`), and `server`, behind `guard`.
May import: errors, settings, telemetry, keyed, model, assembly, connectors, running, operation.
"""
