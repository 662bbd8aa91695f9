-- Caches outside hear which entry is stale: the subject is the entry, the payload is empty.
--
--   rowcall listen 'cache.products.*'
--
-- An instant event may come before its row is committed. Whoever reloads an entry at once can read
-- the old row again; so drop the entry when the event comes, and load it when it is next asked for.
--
-- Run it with a client that knows DELIMITER: mariadb test < cache.sql

DROP TABLE IF EXISTS products;

CREATE TABLE products (
  id INT PRIMARY KEY,
  name VARCHAR(100) NOT NULL,
  price DECIMAL(10,2) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

DELIMITER //

CREATE TRIGGER products_changed AFTER UPDATE ON products FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  DO rowcall_notify(CONCAT('cache.products.', OLD.id), '');
END //

CREATE TRIGGER products_deleted AFTER DELETE ON products FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  DO rowcall_notify(CONCAT('cache.products.', OLD.id), '');
END //

DELIMITER ;
