-- Every change of an order is announced at once.
--
--   rowcall listen 'shop.orders.>'
--
-- Run it with a client that knows DELIMITER: mariadb test < orders.sql

DROP TABLE IF EXISTS orders;

CREATE TABLE orders (
  id INT PRIMARY KEY AUTO_INCREMENT,
  customer VARCHAR(100) NOT NULL,
  total DECIMAL(10,2) NOT NULL,
  state VARCHAR(20) NOT NULL DEFAULT 'new'
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

DELIMITER //

-- The handler around the call is all the insurance that the table needs: should the functions be
-- missing one day, rows are still written, and only the announcements stay away. But no AS in a
-- trigger then: without the function the server takes it for a mistake in the trigger's text, which
-- no handler catches, and refuses every write. Where another name is wanted, a variable has it.

CREATE TRIGGER orders_created AFTER INSERT ON orders FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  DO rowcall_emit('shop.orders.created', NEW.id, NEW.customer, NEW.total, NEW.state);
END //

CREATE TRIGGER orders_changed AFTER UPDATE ON orders FOR EACH ROW
BEGIN
  DECLARE state_before VARCHAR(20) CHARACTER SET utf8mb4 DEFAULT OLD.state;
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  IF NOT (NEW.state <=> OLD.state AND NEW.total <=> OLD.total) THEN
    DO rowcall_emit('shop.orders.changed', NEW.id, state_before, NEW.state, NEW.total);
  END IF;
END //

CREATE TRIGGER orders_deleted AFTER DELETE ON orders FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  DO rowcall_emit('shop.orders.deleted', OLD.id);
END //

DELIMITER ;
