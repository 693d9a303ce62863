"""The columns of TLC's files, with their order and types."""

from __future__ import annotations

from functools import cache

import pyarrow as pa

from chillflow.synthetic.geography import Service

_COLUMNS: dict[Service, str] = {
    "yellow": """
        VendorID tpep_pickup_datetime tpep_dropoff_datetime passenger_count trip_distance RatecodeID
        store_and_fwd_flag PULocationID DOLocationID payment_type fare_amount extra mta_tax tip_amount
        tolls_amount improvement_surcharge total_amount congestion_surcharge Airport_fee cbd_congestion_fee
    """,
    "green": """
        VendorID lpep_pickup_datetime lpep_dropoff_datetime store_and_fwd_flag RatecodeID PULocationID
        DOLocationID passenger_count trip_distance fare_amount extra mta_tax tip_amount tolls_amount ehail_fee
        improvement_surcharge total_amount payment_type trip_type congestion_surcharge
    """,
}
_TYPES: dict[str, pa.DataType] = {
    "VendorID": pa.int32(),
    "PULocationID": pa.int32(),
    "DOLocationID": pa.int32(),
    "store_and_fwd_flag": pa.string(),
    "tpep_pickup_datetime": pa.timestamp("us"),
    "tpep_dropoff_datetime": pa.timestamp("us"),
    "lpep_pickup_datetime": pa.timestamp("us"),
    "lpep_dropoff_datetime": pa.timestamp("us"),
}  # all others are float64, whole numbers too, because they may be null


@cache
def tlc_schema(service: Service) -> pa.Schema:
    """The schema of TLC's yellow files since 2025 and of its green files up to 2024."""
    schema = pa.schema([(name, _TYPES.get(name, pa.float64())) for name in _COLUMNS[service].split()])
    if service == "green":
        return schema
    # An unknown payment type is null in green files (float) and 0 in yellow ones (int).
    position = schema.get_field_index("payment_type")
    return schema.set(position, pa.field("payment_type", pa.int64()))
