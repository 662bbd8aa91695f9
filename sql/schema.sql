-- The `rowcall` schema: events that leave only when their transaction commits. `rowcall install` puts
-- it in place and upgrades it; by hand, run it with a client that knows DELIMITER:
--   mariadb < schema.sql
-- It may be run again: what is there stays.
--
-- A row in `outbox` is an event that was not handed on yet. The daemon reads it after COMMIT, hands it
-- on, and deletes exactly what it has handed on. Nothing else stands between a transaction and its events.

CREATE DATABASE IF NOT EXISTS rowcall DEFAULT CHARACTER SET utf8mb4;

-- Which edition of this schema is here; the daemon refuses one that it does not know.
CREATE TABLE IF NOT EXISTS rowcall.edition (
  only TINYINT NOT NULL DEFAULT 1 PRIMARY KEY,
  number INT NOT NULL
) ENGINE=InnoDB;

-- No column refuses anything: a subject that cannot be published to, or a payload that is NULL, is
-- found by the daemon, which parks it with the reason. A transaction never fails for it.
CREATE TABLE IF NOT EXISTS rowcall.outbox (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  subject VARBINARY(4096),
  payload LONGBLOB,
  headers BLOB,
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) ENGINE=InnoDB;

-- Events that were given up, with the reason: they could not be published at all, or no worker of
-- the consumer took them in the deliveries that it has. `rowcall parked` shows them and sends them again.
CREATE TABLE IF NOT EXISTS rowcall.parked (
  id BIGINT UNSIGNED NOT NULL,
  consumer VARCHAR(64) NOT NULL DEFAULT '',
  subject VARBINARY(4096),
  payload LONGBLOB,
  headers BLOB,
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  parked_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  reason VARCHAR(40) NOT NULL,
  history TEXT,
  PRIMARY KEY (id, consumer)
) ENGINE=InnoDB;

-- The account in whose name the procedures write. It can do nothing else, and nobody can log in as it.
CREATE USER IF NOT EXISTS 'rowcall_writer'@'localhost' ACCOUNT LOCK;
GRANT INSERT ON rowcall.outbox TO 'rowcall_writer'@'localhost';

DROP PROCEDURE IF EXISTS rowcall.publish;
DROP PROCEDURE IF EXISTS rowcall.publish_with;

DELIMITER //

-- Publishes after COMMIT, and only then. EXECUTE on it is all the right that is needed.
CREATE DEFINER='rowcall_writer'@'localhost' PROCEDURE rowcall.publish(IN subject LONGBLOB, IN payload LONGBLOB)
SQL SECURITY DEFINER MODIFIES SQL DATA
  CALL rowcall.publish_with(subject, payload, NULL) //

-- The same with headers: lines of `Name: value`. `Rowcall-Key` names what the event is about; events
-- with one key reach each consumer in the order of their commits.
CREATE DEFINER='rowcall_writer'@'localhost' PROCEDURE rowcall.publish_with(IN subject LONGBLOB, IN payload LONGBLOB, IN headers BLOB)
SQL SECURITY DEFINER MODIFIES SQL DATA
BEGIN
  DECLARE callers BIGINT UNSIGNED DEFAULT LAST_INSERT_ID();
  INSERT INTO rowcall.outbox (subject, payload, headers) VALUES (LEFT(subject, 4096), payload, headers);
  BEGIN
    -- Around the poke only: it saves time, and nothing depends on it. The functions may be missing.
    DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
    DO rowcall_poke(LAST_INSERT_ID());
  END;
  -- The caller's LAST_INSERT_ID() is what it was.
  DO LAST_INSERT_ID(callers);
END //

DELIMITER ;

GRANT EXECUTE ON PROCEDURE rowcall.publish TO 'rowcall_writer'@'localhost';
GRANT EXECUTE ON PROCEDURE rowcall.publish_with TO 'rowcall_writer'@'localhost';

INSERT IGNORE INTO rowcall.edition (number) VALUES (1);
