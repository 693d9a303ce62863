"""A page on which the city and the pipeline are seen live. Needs the extra `dashboard`.

Pure: `days`, `figures`, `city_map`, `curves`, `themes`. What is asked: `database`, `queries`, `health`, `trip`, and
`shared`, through which all viewers ask; `look` is one look at the city. What is shown: `view`, `strip`, `city_page`,
`zone_panel`, `trip_page`. `server` serves it, behind `guard`.
"""
