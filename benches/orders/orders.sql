CREATE STREAMING TABLE orders_raw AS SELECT * FROM STREAM read_events('orders', format => 'json', schema =>
  'id BIGINT, customer STRING, product STRING, quantity INT, price DOUBLE, ordered_at TIMESTAMP, note STRING');

CREATE STREAMING TABLE orders (
  CONSTRAINT some_quantity EXPECT (quantity > 0) ON VIOLATION DROP ROW,
  CONSTRAINT known_price EXPECT (price IS NOT NULL)
) AS SELECT id, customer, product, quantity, price, ordered_at FROM STREAM(orders_raw);

CREATE MATERIALIZED VIEW sales AS
  SELECT product, count(*) AS orders, sum(quantity) AS quantity, round(sum(quantity * price), 2) AS revenue
  FROM orders GROUP BY product;
