-- Gold: always equal to its query.

CREATE OR REFRESH MATERIALIZED VIEW sales_by_country
COMMENT 'Orders and revenue of each country'
AS SELECT
  country,
  count(*) AS orders,
  sum(amount) AS revenue
FROM orders
GROUP BY country;
