"""Bronze in Python: the peer's SQL has no read_files."""

from pyspark import pipelines as dp
from pyspark.sql import SparkSession

SCHEMA = """id BIGINT, scheduled_departure TIMESTAMP, year INT, month INT, day INT, dep_time INT,
  sched_dep_time INT, dep_delay INT, arr_time INT, sched_arr_time INT, arr_delay INT,
  carrier STRING, flight INT, tailnum STRING, origin STRING, dest STRING, air_time INT,
  distance INT, hour INT, minute INT, time_hour TIMESTAMP"""


@dp.table
def flights_raw():
    spark = SparkSession.active()
    return spark.readStream.schema(SCHEMA).json(spark.conf.get("headwater.bench.in"))
