-- The peer has no expectations: a filter drops the same rows, but keeps none of them.
CREATE STREAMING TABLE flights
AS SELECT id, scheduled_departure, carrier, flight, tailnum, origin, dest, dep_delay, arr_delay, air_time, distance
FROM STREAM flights_raw
WHERE carrier IS NOT NULL AND origin IN ('EWR', 'JFK', 'LGA') AND dep_delay IS NOT NULL;

CREATE MATERIALIZED VIEW delay_by_carrier_month
AS SELECT carrier, date_part('month', scheduled_departure) AS month,
          count(*) AS flights, avg(dep_delay) AS mean_delay, max(dep_delay) AS worst_delay, sum(distance) AS miles
FROM flights
GROUP BY carrier, date_part('month', scheduled_departure);
