-- A row is written only if a worker outside approves it.
--
--   rowcall reply shop.approve -- sh -c 'grep -q "\"amount\":[0-9]\{1,3\}\." && echo yes || echo no'
--
-- What happens without an answer is decided here and nowhere else: this table refuses the row, and
-- says why. While it waits (at most 250 ms) the statement holds its locks; a worker must not touch
-- the rows of the transaction that asks it.
--
-- Run it with a client that knows DELIMITER: mariadb test < approval.sql

DROP TABLE IF EXISTS payments;

CREATE TABLE payments (
  id INT PRIMARY KEY AUTO_INCREMENT,
  account VARCHAR(40) NOT NULL,
  amount DECIMAL(10,2) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

DELIMITER //

CREATE TRIGGER payments_approved BEFORE INSERT ON payments FOR EACH ROW
BEGIN
  DECLARE answer, reason VARCHAR(200) CHARACTER SET utf8mb4;
  SET answer = CONVERT(rowcall_request('shop.approve',
                       CONCAT('{"account":', JSON_QUOTE(NEW.account), ',"amount":', NEW.amount, '}'))
                       USING utf8mb4);
  IF answer IS NULL THEN
    SET reason = CONCAT('nobody could approve the payment: ', CONVERT(rowcall_last_error() USING utf8mb4));
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = reason;
  ELSEIF TRIM(TRAILING '\n' FROM answer) <> 'yes' THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the payment was not approved';
  END IF;
END //

DELIMITER ;
