"""The city in a browser: its numbers are those of the tables, live or of a window that was chosen."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import put_together
from tests.dashboard.looking import Looked, looking, serving
from tests.integration.cli import Pipeline

CITY = """
    select sum(trips), round(sum(total_amount), 2), round(sum(tip_amount), 2), sum(distance_m) * 3.6 / sum(duration_s),
           count(*)
    from mart.zone_window where window_start = :start and window_minutes = {minutes} and trips > 0
"""
SERVERS = [pytest.mark.kafka, pytest.mark.postgres]
SHOWN = ("trips", "revenue", "tips", "speed", "zones")


def of_city(looked: Looked) -> dict[str, float]:
    """What the tables say of the window that is shown."""
    _, minutes = looked.window
    (row,) = looked.query(CITY.format(minutes=minutes))
    return dict(zip(SHOWN, map(float, row), strict=True))


def assert_totals(looked: Looked) -> None:
    """The totals are those of the tables, as they are written."""
    expected = of_city(looked)
    for name, value in expected.items():
        digits = {"trips": 0, "zones": 0, "speed": 1}.get(name, 2 if value < 10_000 else 0)
        assert looked.number(f"total-{name}") == pytest.approx(value, abs=0.51 * 10**-digits), name


@pytest.mark.parametrize("where", ["looked", pytest.param("looked_on_servers", marks=SERVERS)])
def test_the_numbers_on_the_page_are_those_of_the_database(request: pytest.FixtureRequest, where: str) -> None:
    looked: Looked = request.getfixturevalue(where)
    looked.wait(lambda: looked.text("total-trips"))
    (newest,) = looked.pipeline.query("select trips, final from mart.city_now where window_minutes = 15")
    assert (looked.number("total-trips"), looked.text("final")) == (float(newest[0]), "pending\nprovisional")
    assert_totals(looked)

    looked.step(-12)
    assert looked.text("final") == "check_circle\nfinal"
    assert_totals(looked)

    looked.page.get_by_role("button", name="1 h", exact=True).click()
    looked.wait(lambda: looked.window[1] == 60)
    assert_totals(looked)

    looked.at("live").click()
    (hour,) = looked.pipeline.query("select trips from mart.city_now where window_minutes = 60")
    looked.wait(lambda: looked.number("total-trips") == float(hour[0]))


def test_the_table_says_what_the_map_says(looked: Looked) -> None:
    looked.wait(lambda: looked.text("total-trips"))
    looked.step(-20)
    expected = looked.query(
        "select pu_zone_id, trips, total_amount from mart.zone_window"
        " where window_start = :start and window_minutes = 15 and trips > 0 order by trips desc, pu_zone_id"
    )
    circles = looked.chart("map", "[2, 3].flatMap(n => chart.getOption().series[n].data).map(d => d.value)")
    placed = [row for row in expected if row[0] not in (57, 104, 105, 264, 265)]
    assert sorted((int(c[-1]), int(c[2]), round(c[3], 2)) for c in circles) == sorted(
        (zone, trips, float(amount)) for zone, trips, amount in placed
    )

    looked.page.get_by_role("button", name="Table", exact=True).click()
    rows = looked.at("table").locator("tbody tr")
    expect(rows.first).to_be_visible()
    cells = [row.locator("td").all_inner_texts() for row in rows.all()]
    assert [(int(c[1]), c[2], c[5]) for c in cells] == [
        (trips, f"{float(amount):,.2f}", "final") for _, trips, amount in expected[: len(cells)]
    ]
    assert len(cells) > 5


def test_a_click_shows_the_zone_its_curve_and_where_its_trips_went(looked: Looked) -> None:
    looked.wait(lambda: looked.text("total-trips"))
    looked.page.get_by_role("button", name="1 h", exact=True).click()
    looked.wait(lambda: looked.window[1] == 60)
    looked.page.get_by_role("button", name="Whole city", exact=True).click()
    looked.step(-5)
    zone = 132  # JFK Airport: no other circle covers it
    ((trips, amount),) = looked.query(
        "select trips, total_amount from mart.zone_window where window_start = :start and window_minutes = 60"
        f" and pu_zone_id = {zone}"
    )
    looked.page.wait_for_timeout(500)  # the circles move to their size
    place = looked.chart(
        "map",
        "chart.convertToPixel({seriesIndex: 2}, [2, 3].flatMap(n => chart.getOption().series[n].data)"
        f".find(d => d.value[6] === {zone}).value.slice(0, 2))",
    )
    looked.at("map").click(position={"x": place[0], "y": place[1]})

    looked.wait(lambda: looked.at("zone").input_value().endswith(f"({zone})"))
    looked.wait(lambda: looked.number("fact-trips") == trips)
    assert looked.number("fact-revenue") == pytest.approx(float(amount), abs=0.01)
    curve = looked.chart("curve", "chart.getOption().series[0].data")
    counted = looked.pipeline.query(
        f"select sum(trips) from mart.zone_window where pu_zone_id = {zone} and window_minutes = 60 and trips > 0"
        " and final and window_start >= '2024-01-01T05' and window_start < '2024-01-02T05'"
    )
    assert sum(each or 0 for each in curve) == counted[0][0]
    flows = looked.query(
        f"select do_zone_id, trips from mart.zone_flow where pu_zone_id = {zone} and hour = :start"
        " order by trips desc, do_zone_id limit 8"
    )
    shown = [line for line in looked.text("flows").splitlines() if line]
    assert [line.rpartition("(")[2].rstrip(")") for line in shown[::3]] == [str(number) for number, _ in flows]
    assert [int(line) for line in shown[1::3]] == [count for _, count in flows]

    looked.at("close").click()
    looked.wait(lambda: looked.number("fact-trips") == looked.number("total-trips"))


def test_hovering_shows_the_figures(looked: Looked) -> None:
    looked.wait(lambda: looked.text("total-trips"))
    looked.page.wait_for_timeout(500)
    name, trips, *place = looked.chart(
        "map",
        "(d => [d.name, d.value[2], ...chart.convertToPixel({seriesIndex: 3}, d.value.slice(0, 2))])"
        "(chart.getOption().series[3].data.at(-1))",
    )
    box = looked.at("map").bounding_box()
    assert box
    looked.page.mouse.move(box["x"] + place[0], box["y"] + place[1])
    looked.wait(lambda: name in looked.at("map").inner_text())
    assert str(trips) in looked.at("map").inner_text()


def test_playing_goes_through_the_day_and_stops(looked: Looked) -> None:
    looked.wait(lambda: looked.text("total-trips"))
    looked.at("play").click()
    looked.wait(lambda: looked.window[0].split()[1] < "02:00")
    for _ in range(3):
        before = looked.text("window")
        looked.wait(lambda before=before: looked.text("window") != before)
    assert looked.at("live").get_attribute("aria-pressed") == "false"
    looked.at("play").click()
    looked.page.wait_for_timeout(1500)
    stopped = looked.text("window")
    looked.page.wait_for_timeout(1500)
    assert looked.text("window") == stopped
    assert_totals(looked)
    looked.at("live").click()
    looked.wait(lambda: looked.text("final") == "pending\nprovisional")
    assert looked.at("live").get_attribute("aria-pressed") == "true"


def test_what_changes_in_the_table_is_shown_within_two_seconds(looked: Looked) -> None:
    """However busy the machine is: the least of three."""
    looked.wait(lambda: looked.text("total-trips"))
    before, delays = looked.number("total-trips"), []
    for added in (1000, 2000, 3000):
        looked.query(
            "update mart.zone_window set trips = trips + 1000 where window_minutes = 15 and pu_zone_id ="
            " (select max(pu_zone_id) from mart.zone_window where window_start = :start and window_minutes = 15)"
            " and window_start = :start"
        )
        start = time.monotonic()
        looked.wait(lambda added=added: looked.number("total-trips") == before + added)
        delays.append(time.monotonic() - start)
    print(f"shown after {', '.join(f'{each:.2f}' for each in delays)} s")
    assert min(delays) < 2


def test_provisional_and_final_look_different_without_colours(looked: Looked) -> None:
    looked.wait(lambda: looked.text("total-trips"))

    def styles() -> list[Any]:
        return list(
            looked.chart(
                "map",
                "[2, 3].map(n => [chart.getOption().series[n].data.length,"
                " JSON.stringify(chart.getOption().series[n].itemStyle.borderType)])",
            )
        )

    final, provisional = styles()
    assert (final[0], provisional[0] > 0) == (0, True)
    assert final[1] != provisional[1]
    looked.step(-16)
    final, provisional = styles()
    assert (final[0] > 0, provisional[0]) == (True, 0)
    legend = looked.chart("map", "chart.getOption().legend[0].data.map(d => d.name)")
    assert legend == ["final", "provisional"]


def test_without_windows_it_says_so_and_goes_on_by_itself(embedded: Pipeline, page: Page, day_of_trips: Any) -> None:
    embedded.run("init-db")
    with looking(embedded, page) as looked:
        expect(looked.at("empty")).to_be_visible()
        embedded.produce(day_of_trips)
        embedded.assemble()
        expect(looked.at("empty")).to_be_hidden()
        looked.wait(lambda: looked.number("total-trips") == of_city(looked)["trips"])
        assert_totals(looked)


def test_tables_that_are_not_there_are_named(embedded: Pipeline, page: Page) -> None:
    with looking(embedded, page) as looked:
        expect(looked.at("problem")).to_contain_text("init-db")
        assert not (embedded.folder / "trips.sqlite").exists(), "looking makes nothing"


def test_another_day_can_be_chosen(embedded: Pipeline, page: Page, tmp_path: Any) -> None:
    embedded.run("generate", "--trips", 2000, "--days", 3, "--out", "three.parquet")
    embedded.run("init-db")
    embedded.produce(tmp_path / "three.parquet")
    embedded.assemble("--close-all")
    with looking(embedded, page) as looked:
        looked.wait(lambda: looked.text("total-trips"))
        looked.at("day").fill("2024-01-02")
        looked.wait(lambda: looked.window[0].startswith("2024-01-02"))
        assert_totals(looked)


@pytest.mark.kafka
@pytest.mark.postgres
def test_five_viewers_ask_the_database_no_more_than_one(on_servers: Pipeline, page: Page, day_of_trips: Any) -> None:
    put_together(on_servers, day_of_trips)

    def statements() -> int:
        ((count,),) = on_servers.query("select xact_commit from pg_stat_database where datname = current_database()")
        return int(count)

    def a_second() -> float:
        page.wait_for_timeout(2000)  # Postgres counts with a delay of a second
        before, start = statements(), time.monotonic()
        page.wait_for_timeout(5_000)
        return (statements() - before) / (time.monotonic() - start)

    with serving(on_servers) as (_, url):
        page.goto(url)
        one = a_second()
        others = [page.context.new_page() for _ in range(4)]
        for other in others:
            other.goto(url)
        for other in others:
            expect(other.locator("[data-test=total-trips]")).not_to_be_empty()
        five = a_second()
    print(f"statements a second: {one:.1f} for one viewer, {five:.1f} for five")
    assert one > 1
    assert five < 3 * one, "each on its own would ask five times as often"
