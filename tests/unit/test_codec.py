"""Both decoders accept and refuse the same bytes, and decoding reverses encoding."""

import json
from itertools import chain
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chillflow.errors import DecodeError
from chillflow.keyed.batches import Undecodable
from chillflow.model.codec import (
    KINDS,
    decode,
    decode_all,
    decode_keyed,
    decode_model,
    decode_value,
    encode,
    encode_value,
    time_text,
)
from chillflow.model.events import EVENT_CLASSES, Event, TripEvent
from tests.unit.vocabulary import BEGINNING, end_event, events, exit_event, five, payment_event, start_event

few = settings(max_examples=150, deadline=None)
many = settings(max_examples=400, deadline=None)
WITH_DEFAULTS = {"event_id", "schema_version", "event_version"}
TIME_FIELDS = ("event_time", "pickup_ts", "dropoff_ts")


def verdict(read: Any, value: bytes) -> Any:
    """The decoded struct, or None for a DecodeError; any other error fails the test."""
    try:
        event = read(value)
    except DecodeError:
        return None
    return event.to_struct() if isinstance(event, TripEvent) else event


def agree(value: bytes) -> Any:
    """The result of both decoders."""
    fast = verdict(decode, value)
    assert fast == verdict(decode_model, value)
    return fast


def object_of(event: TripEvent) -> dict[str, Any]:
    value: dict[str, Any] = decode_value(encode(event))
    return value


def raw(event: TripEvent, field: str, text: str) -> bytes:
    """The event with `field` set to this text, which may be invalid JSON."""
    return encode_value({**object_of(event), field: "@@"}).replace(b'"@@"', text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("event", five(), ids=lambda event: event.event_type)
def test_golden_bytes(event: Event) -> None:
    # These bytes are in topics: they may change only with the schema version.
    golden = {
        "trip_started": (
            b'{"event_id":"6e0e4250e4049d9cd72399f36b00b0e2","event_type":"trip_started","trip_key":"a-trip",'
            b'"event_time":"2024-01-01T12:00:00Z","schema_version":1,"event_version":0,"pickup_ts":"2024-01-0'
            b'1T12:00:00Z","pu_zone_id":132,"service":"green","vendor_id":2,"passenger_count":1,"rate_code":n'
            b'ull,"store_and_fwd_flag":null,"trip_type":null}'
        ),
        "zone_exited": (
            b'{"event_id":"d0ebfce1bc1baae39625cc8253544208","event_type":"zone_exited","trip_key":"a-trip","'
            b'event_time":"2024-01-01T12:00:00Z","schema_version":1,"event_version":0,"pickup_ts":"2024-01-01'
            b'T12:00:00Z","pu_zone_id":132}'
        ),
        "zone_entered": (
            b'{"event_id":"878d9b0695597f3d3c89a0eae7f91cdb","event_type":"zone_entered","trip_key":"a-trip",'
            b'"event_time":"2024-01-01T12:10:00Z","schema_version":1,"event_version":0,"dropoff_ts":"2024-01-'
            b'01T12:10:00Z","do_zone_id":239}'
        ),
        "payment_processed": (
            b'{"event_id":"4505ff977dd1d3b15b20943aace1a9ee","event_type":"payment_processed","trip_key":"a-t'
            b'rip","event_time":"2024-01-01T12:10:00Z","schema_version":1,"event_version":0,"payment_type":1,'
            b'"fare_amount":12.8,"extra":null,"mta_tax":null,"tip_amount":2.5,"tolls_amount":null,"improvemen'
            b't_surcharge":null,"congestion_surcharge":null,"airport_fee":null,"cbd_congestion_fee":null,"eha'
            b'il_fee":null,"total_amount":18.3}'
        ),
        "trip_ended": (
            b'{"event_id":"d29ff80a533a8a4f37beb15266033e02","event_type":"trip_ended","trip_key":"a-trip","e'
            b'vent_time":"2024-01-01T12:10:00Z","schema_version":1,"event_version":0,"dropoff_ts":"2024-01-01'
            b'T12:10:00Z","do_zone_id":239,"trip_distance":1.98,"extra_columns":null}'
        ),
    }
    assert encode(event) == golden[event.event_type]


@given(events())
@many
def test_decoding_reverses_encoding(event: Event) -> None:
    value = encode(event)
    assert decode_model(value) == event
    assert decode(value) == event.to_struct()
    assert decode_keyed(event.trip_key.encode(), value) == event.to_struct()
    assert EVENT_CLASSES[KINDS[type(decode(value))]] is type(event)
    assert json.loads(value)["event_time"] == time_text(event.event_time)


@given(events(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@few
def test_a_given_event_id_is_kept(event: Event, event_id: str) -> None:
    named = event.model_copy(update={"event_id": event_id})
    assert decode_model(encode(named)) == named
    assert agree(encode(named)) == named.to_struct()


_ODD: tuple[list[Any], ...] = (
    [None, True, False, 0, 1, -1, 1.0, 1.5, -0.0, 2**31, 2**63, 2**64, 10**30, -(10**30), 1e300, "", "1", "x", [], {}],
    ["2024-01-01T00:00:00", "2024-01-01T00:00:00Z", "2024-01-01T00:00:00-05:00", "2024-02-30T00:00:00Z"],
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-01-01", "2024-01-01T24:00:00Z", "1704067200"],
    ["trip_started", "zone_entered", "a\x00b", "é", "\U0001f695", {"a": {}}, {"a": None}, {"b": 1.0, "a": [1]}],
)
ODD = st.sampled_from([*chain(*_ODD)])


@given(events(), st.data())
@many
def test_both_decoders_agree_on_mutated_events(event: Event, data: st.DataObject) -> None:
    value = object_of(event)
    names = st.sampled_from([*value])
    for name in data.draw(st.lists(names, max_size=2)):
        value.pop(name, None)
    for name in data.draw(st.lists(names | st.just("unknown"), max_size=3)):
        value[name] = data.draw(ODD)
    read = agree(json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode())
    if read is not None and read.event_id:
        assert decode(encode_value(read)) == read


@given(events(), st.data())
@many
def test_both_decoders_agree_on_mutated_bytes(event: Event, data: st.DataObject) -> None:
    value = bytearray(encode(event))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value) - 1))
        match data.draw(st.sampled_from(["set", "insert", "delete", "cut"])):
            case "set":
                value[at] = data.draw(st.integers(0, 255))
            case "insert":
                value[at:at] = data.draw(st.binary(max_size=4) | st.sampled_from([b'"', b"{", b"}", b",", b"\\ud800"]))
            case "delete" if len(value) > 1:
                del value[at]
            case "cut" if at:
                del value[at:]
    agree(bytes(value))


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
@few
@example(b"")
@example(b"null")
@example(b"[" * 5000)
@example(b"{" * 5000)
@example(b'{"a":' * 5000)
@example(b'{"event_type":' + b"[" * 100_000)
@example("é".encode("utf-16"))
@example(b"\xef\xbb\xbf{}")
def test_bytes_that_are_not_an_event_raise_decode_error(value: bytes) -> None:
    assert agree(value) is None


NUMBERS = ["NaN", "Infinity", "-Infinity", "1e400", "01", "1.", ".5", "+1", "0x1", "1" * 400, "-0", "1E0", "true"]


@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize(
    "field", ["trip_key", "event_time", "do_zone_id", "trip_distance", "schema_version", "unknown"]
)
def test_both_decoders_agree_on_odd_numbers(field: str, text: str) -> None:
    agree(raw(end_event(), field, text))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_non_finite_number_is_refused(text: str) -> None:
    assert agree(raw(end_event(), "trip_distance", text)) is None


@pytest.mark.parametrize("text", ["NaN", '{"a":NaN}', "[Infinity]"])
def test_invalid_json_is_refused_even_in_ignored_fields(text: str) -> None:
    assert agree(raw(end_event(), "unknown", text)) is None
    assert agree(raw(end_event(), "extra_columns", text)) is None


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '"\\udc00\\ud800"', '"\ud800"', '"\\x"', '"\x01"', '"', "nul", "{", "'a'"]
)
@pytest.mark.parametrize("field", ["event_id", "trip_key", "event_time", "extra_columns", "unknown"])
def test_broken_text_is_refused(field: str, text: str) -> None:
    assert agree(raw(end_event(), field, text)) is None


@pytest.mark.parametrize("field", ["event_id", "trip_key", "event_type", "unknown"])
def test_bad_utf8_is_refused(field: str) -> None:
    value = encode_value({**object_of(end_event()), field: "@@"})
    assert agree(value.replace(b"@@", b"\xff\xfe")) is None


@pytest.mark.parametrize("schema_version", ["2", "0", "-1", "true", "1.0", '"1"', "null", str(2**70)])
def test_an_unknown_schema_version_is_refused(schema_version: str) -> None:
    assert agree(raw(start_event(), "schema_version", schema_version)) is None


@pytest.mark.parametrize("event_type", ['"trip_began"', "null", "1", '""', '"zone_entered"', '["trip_ended"]'])
def test_an_unknown_type_is_refused(event_type: str) -> None:
    assert agree(raw(start_event(), "event_type", event_type)) is None


def test_an_empty_trip_key_is_refused() -> None:
    assert agree(raw(end_event(), "trip_key", '""')) is None


@pytest.mark.parametrize("depth", [10, 150, 250, 600, 900, 3000])
def test_deeply_nested_extra_columns_are_refused(depth: int) -> None:
    # 600 levels once passed, and broke the code that walked over them.
    read = agree(raw(end_event(), "extra_columns", '{"a":' + "[" * depth + "]" * depth + "}"))
    assert (read is None) == (depth > 190)


@pytest.mark.parametrize("depth", [250, 600, 3000])
def test_deeply_nested_unknown_fields_raise_only_decode_error(depth: int) -> None:
    verdict(decode, raw(end_event(), "unknown", "[" * depth + "]" * depth))


@pytest.mark.parametrize("text", ["{}", '{"a":null}', '{"a":{}}', '{"a":{"b":null}}', "null", '{"a":1e400}'])
def test_empty_extra_columns_are_null(text: str) -> None:
    assert agree(raw(end_event(), "extra_columns", text)).extra_columns is None


def test_extra_columns_are_decoded_in_canonical_form() -> None:
    text = '{"b":2.0,"a":{"y":1.5,"x":null,"w":18446744073709551615},"c":1e30,"d":' + "9" * 30 + "}"
    read = agree(raw(end_event(), "extra_columns", text))
    assert [*read.extra_columns.items()] == [("a", {"w": 2**64 - 1, "y": 1.5}), ("b", 2), ("c", 1e30), ("d", 1e30)]
    assert type(read.extra_columns["b"]) is int


@pytest.mark.parametrize(
    ("event", "field"),
    [(event, name) for event in five() for name in type(event).model_fields if name in TIME_FIELDS],
)
def test_times_with_another_offset_are_converted_to_utc(event: Event, field: str) -> None:
    read = agree(raw(event, field, '"2024-01-01T07:00:00-05:00"'))
    assert getattr(read, field) == BEGINNING
    assert time_text(getattr(read, field)) == getattr(read, field).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert getattr(read, field).utcoffset().total_seconds() == 0


@pytest.mark.parametrize("field", ["event_time", "pickup_ts"])
@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_outside_the_range_of_utc_is_refused(field: str, text: str) -> None:
    assert agree(raw(exit_event(), field, f'"{text}"')) is None


@pytest.mark.parametrize("left_out", [{"event_id"}, {"schema_version"}, {"event_version"}, WITH_DEFAULTS])
@pytest.mark.parametrize("event", five(), ids=lambda event: event.event_type)
def test_a_field_with_a_default_may_be_missing(event: Event, left_out: set[str]) -> None:
    value = {name: inner for name, inner in object_of(event).items() if name not in left_out}
    assert agree(encode_value(value)) == event.to_struct()


@pytest.mark.parametrize("event", five(), ids=lambda event: event.event_type)
def test_an_empty_event_id_is_filled_in(event: Event) -> None:
    # Otherwise all events of a producer that sends "" would be duplicates of each other.
    assert agree(encode_value({**object_of(event), "event_id": ""})) == event.to_struct()


@pytest.mark.parametrize("event", five(), ids=lambda event: event.event_type)
def test_each_field_without_a_default_is_required(event: Event) -> None:
    value = object_of(event)
    for name, field in type(event).model_fields.items():
        if field.is_required() or name == "event_type":
            left = {other: inner for other, inner in value.items() if other != name}
            with pytest.raises(DecodeError, match=name):
                decode(encode_value(left))


def test_the_last_of_two_equal_json_keys_wins() -> None:
    assert agree(encode(end_event())[:-1] + b',"trip_key":"other"}').trip_key == "other"
    assert agree(encode(end_event())[:-1] + b',"trip_key":5}') is None
    assert agree(b'{"trip_key":5,' + encode(end_event())[1:]).trip_key == end_event().trip_key
    assert agree(b'{"event_type":"zone_entered",' + encode(end_event())[1:]) == end_event().to_struct()
    assert KINDS[type(agree(encode(end_event())[:-1] + b',"event_type":"zone_entered"}'))] == 2


def test_unknown_fields_and_another_order_are_accepted() -> None:
    value = object_of(payment_event())
    shuffled = {"later": [1, {"a": "é"}], **dict(reversed(value.items()))}
    assert agree(encode_value(shuffled)) == payment_event().to_struct()


def test_a_tombstone_is_refused() -> None:
    with pytest.raises(DecodeError, match="tombstone"):
        decode(None)


def test_a_key_that_is_not_the_trip_key_is_refused() -> None:
    with pytest.raises(DecodeError, match="other"):
        decode_keyed(b"other", encode(end_event()))
    with pytest.raises(DecodeError, match="message key"):
        decode_keyed(b"\xff", encode(end_event()))


def test_many_messages_are_decoded_as_one_by_one() -> None:
    ended = encode(end_event())
    odd = raw(start_event(), "event_time", '"2024-01-01T07:00:00-05:00"')
    pairs: list[tuple[bytes | None, bytes | None]] = [
        *((event.trip_key.encode(), encode(event)) for event in five()),
        (b"a-trip", odd),
        (b"a-trip", b"hello"),
        (b"a-trip", None),
        (b"a-trip", b"[" * 100_000),
        (b"other", ended),
        (b"", ended),
        (None, ended),
    ]
    found = decode_all(*zip(*pairs, strict=True))
    assert found[:6] == [
        *(event.to_struct() for event in five()),
        start_event(event_id=decode(odd).event_id).to_struct(),
    ]
    for (key, value), event in zip(pairs, found, strict=True):
        if key is None:
            assert event == Undecodable("no message key")
        elif isinstance(event, Undecodable):
            with pytest.raises(DecodeError) as raised:
                decode_keyed(key, value)
            assert event.reason == str(raised.value)
        else:
            assert event == decode_keyed(key, value)
    assert [isinstance(event, Undecodable) for event in found] == [False] * 6 + [True] * 6


def test_the_reason_names_the_field() -> None:
    with pytest.raises(DecodeError, match=r"^trip_ended\.do_zone_id: Input should be a valid integer$"):
        decode(raw(end_event(), "do_zone_id", '"x"'))
