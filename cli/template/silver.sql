-- Silver: checked and joined. Rows that fail a DROP ROW rule go to orders__quarantine, with the
-- names of the rules that they failed.

CREATE OR REFRESH STREAMING TABLE orders (
  CONSTRAINT known_customer EXPECT (country IS NOT NULL),
  CONSTRAINT positive_quantity EXPECT (quantity > 0) ON VIOLATION DROP ROW
)
COMMENT 'One row for each order, with its customer'
TBLPROPERTIES ('headwater.dedup.keys' = 'order_id')
AS SELECT
  o.order_id,
  o.ordered_at,
  o.product,
  o.quantity,
  o.quantity * o.price AS amount,
  c.name AS customer,
  c.country
FROM STREAM(orders_raw) o
LEFT JOIN customers c ON o.customer_id = c.customer_id;
