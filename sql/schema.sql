-- The `rowcall` schema: events that leave only when their transaction commits. `rowcall install` puts
-- it in place and upgrades it; by hand, run it with a client that knows DELIMITER:
--   mariadb < schema.sql
-- It may be run again, also over an earlier edition: what is there stays, what is new is added.
-- Its session keeps the SQL mode and the character set that stand below.
--
-- A row in `outbox` is an event that was not handed on yet. The daemon reads it after COMMIT, hands it
-- on, and deletes exactly what it has handed on; what durable consumers wait for moves to `pending` with
-- that. Nothing else stands between a transaction and its events.

-- A procedure keeps the SQL mode and the character set of the session that makes it, whatever its
-- callers have. In this mode nothing that can be stored at all is refused.
SET SESSION sql_mode = '';
SET NAMES utf8mb4;

CREATE DATABASE IF NOT EXISTS rowcall DEFAULT CHARACTER SET utf8mb4;

-- Which edition of this schema is here; the daemon refuses one that it does not know.
CREATE TABLE IF NOT EXISTS rowcall.edition (
  only TINYINT NOT NULL DEFAULT 1 PRIMARY KEY,
  number INT NOT NULL
) ENGINE=InnoDB;

-- The first part of every event's unique id, SITE/ID.MICROSECONDS: the same on a source and its
-- replicas, and on no other server. Letters, digits, - and _; the daemon reads it when it connects.
-- `rowcall install --site` sets it.
CREATE TABLE IF NOT EXISTS rowcall.site (
  only TINYINT NOT NULL DEFAULT 1 PRIMARY KEY,
  name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE=InnoDB;

-- A variable, as a binary log of statements holds its value. RANDOM_BYTES() is not on every server.
SET @rowcall_site = COALESCE(@rowcall_site, LEFT(SHA2(CONCAT(UUID(), RAND()), 256), 12));
INSERT IGNORE INTO rowcall.site (only, name) VALUES (1, @rowcall_site);

-- No column refuses anything: a subject that cannot be published to, or a payload that is NULL, is
-- found by the daemon, which parks it with the reason. A transaction never fails for it.
CREATE TABLE IF NOT EXISTS rowcall.outbox (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  subject VARBINARY(4096),
  payload LONGBLOB,
  headers LONGBLOB,
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) ENGINE=InnoDB;

-- Events that were given up, with the reason: they could not be published at all, or no worker of
-- the consumer took them in the deliveries that it has. `rowcall parked` shows them and sends them again.
CREATE TABLE IF NOT EXISTS rowcall.parked (
  id BIGINT UNSIGNED NOT NULL,
  consumer VARCHAR(64) NOT NULL DEFAULT '',
  subject VARBINARY(4096),
  payload LONGBLOB,
  headers LONGBLOB,
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  parked_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  reason VARCHAR(40) NOT NULL,
  history TEXT,
  uncommitted_us BIGINT NOT NULL DEFAULT 0,
  -- Ids come again (TRUNCATE, a restored dump); an id and its time do not.
  PRIMARY KEY (id, consumer, created_at)
) ENGINE=InnoDB;

-- Parked events to be sent again; `rowcall parked retry` writes here, and the daemon does it.
CREATE TABLE IF NOT EXISTS rowcall.retries (
  id BIGINT UNSIGNED NOT NULL,
  consumer VARCHAR(64) NOT NULL DEFAULT '',
  -- Its created_at in microseconds since 1970; 0 is all of that id.
  stamp BIGINT UNSIGNED NOT NULL DEFAULT 0,
  PRIMARY KEY (id, consumer, stamp)
) ENGINE=InnoDB;

-- Durable consumers: whoever each event of a filter waits for until it is acknowledged. The daemon
-- looks for changes every second. `rowcall consumer` writes here.
CREATE TABLE IF NOT EXISTS rowcall.consumers (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL UNIQUE,
  filter VARBINARY(1000) NOT NULL,
  -- A delivery without an answer for so long has failed.
  ack_wait_ms INT UNSIGNED NOT NULL DEFAULT 30000,
  -- After so many failed deliveries the event is parked; 0 is never.
  max_deliveries INT UNSIGNED NOT NULL DEFAULT 10,
  -- Pauses after the first, second, ... failed delivery; the last one holds for all further ones.
  backoff_ms VARCHAR(200) CHARACTER SET ascii NOT NULL DEFAULT '1000,5000,30000,120000',
  -- So many events may be delivered and not settled at a time.
  max_unacked INT UNSIGNED NOT NULL DEFAULT 256,
  -- Older events, and the oldest beyond so many, are dropped and counted; 0 is no limit.
  max_age_s INT UNSIGNED NOT NULL DEFAULT 0,
  max_rows BIGINT UNSIGNED NOT NULL DEFAULT 0,
  paused TINYINT NOT NULL DEFAULT 0,
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  -- When the daemon first saw it: what was committed since then is kept for it.
  taken_up_at TIMESTAMP(6) NULL DEFAULT NULL
) ENGINE=InnoDB;

-- What each consumer has not settled yet, in the order in which the daemon read it. Only the daemon
-- writes here.
CREATE TABLE IF NOT EXISTS rowcall.pending (
  consumer INT UNSIGNED NOT NULL,
  position BIGINT UNSIGNED NOT NULL,
  id BIGINT UNSIGNED NOT NULL,
  subject VARBINARY(4096),
  payload LONGBLOB,
  headers LONGBLOB,
  created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  deliveries INT UNSIGNED NOT NULL DEFAULT 0,
  -- Not again before that.
  due_at TIMESTAMP(6) NULL DEFAULT NULL,
  -- A line for each delivery that failed.
  history TEXT,
  -- Microseconds from created_at until it was committed, as far as that is known: age counts from then.
  uncommitted_us BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (consumer, position)
) ENGINE=InnoDB;

-- How it goes, refreshed by the daemon: a row for each consumer, and one without a name for the outbox.
-- A consumer's `pending`, `settled`, `parked` and `dropped` are exact and change with the events
-- themselves, as does the outbox's `parked`, and of the outbox nothing else is counted; all others are
-- at most a second old while there is something to do, and ten otherwise.
CREATE TABLE IF NOT EXISTS rowcall.status (
  consumer VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '' PRIMARY KEY,
  -- Events that wait; for the outbox 100000 stands for that many or more.
  pending BIGINT UNSIGNED NOT NULL DEFAULT 0,
  -- The oldest of them.
  oldest TIMESTAMP(6) NULL DEFAULT NULL,
  -- Of them, delivered and not settled.
  unacked BIGINT UNSIGNED NOT NULL DEFAULT 0,
  -- Since the daemon started.
  delivered BIGINT UNSIGNED NOT NULL DEFAULT 0,
  redelivered BIGINT UNSIGNED NOT NULL DEFAULT 0,
  -- Ever since: acknowledged, given up, and dropped for age or number.
  settled BIGINT UNSIGNED NOT NULL DEFAULT 0,
  parked BIGINT UNSIGNED NOT NULL DEFAULT 0,
  dropped BIGINT UNSIGNED NOT NULL DEFAULT 0,
  refreshed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
) ENGINE=InnoDB;

-- What `rowcall watch` was asked for: triggers go with a table that is renamed or dropped.
CREATE TABLE IF NOT EXISTS rowcall.watches (
  schema_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  table_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  -- JSON, as in the triggers.
  plan MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  watched_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (schema_name, table_name)
) ENGINE=InnoDB;

-- What editions 1 and 2 had otherwise, each table by itself: it may have ended in between.
DROP PROCEDURE IF EXISTS rowcall.upgrade;

DELIMITER //

CREATE PROCEDURE rowcall.upgrade()
BEGIN
  DECLARE outbox, parked, pending, retries TINYINT DEFAULT 0;
  SELECT COALESCE(SUM(table_name = 'outbox' AND column_name = 'headers' AND data_type = 'blob'), 0),
         COALESCE(SUM(table_name = 'parked' AND column_name = 'headers' AND data_type = 'blob'), 0),
         COALESCE(SUM(table_name = 'pending' AND column_name = 'headers' AND data_type = 'blob'), 0),
         COALESCE(SUM(table_name = 'retries' AND column_name = 'stamp'), 0) = 0
    INTO outbox, parked, pending, retries
    FROM information_schema.columns WHERE table_schema = 'rowcall';
  IF outbox THEN
    ALTER TABLE rowcall.outbox MODIFY headers LONGBLOB;
  END IF;
  IF parked THEN
    ALTER TABLE rowcall.parked MODIFY headers LONGBLOB, ADD uncommitted_us BIGINT NOT NULL DEFAULT 0,
      DROP PRIMARY KEY, ADD PRIMARY KEY (id, consumer, created_at);
  END IF;
  IF pending THEN
    ALTER TABLE rowcall.pending MODIFY headers LONGBLOB, ADD uncommitted_us BIGINT NOT NULL DEFAULT 0;
  END IF;
  IF retries THEN
    ALTER TABLE rowcall.retries ADD stamp BIGINT UNSIGNED NOT NULL DEFAULT 0,
      DROP PRIMARY KEY, ADD PRIMARY KEY (id, consumer, stamp);
  END IF;
END //

DELIMITER ;

CALL rowcall.upgrade();
DROP PROCEDURE rowcall.upgrade;

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
CREATE DEFINER='rowcall_writer'@'localhost' PROCEDURE rowcall.publish_with(IN subject LONGBLOB, IN payload LONGBLOB, IN headers LONGBLOB)
SQL SECURITY DEFINER MODIFIES SQL DATA
BEGIN
  DECLARE callers BIGINT UNSIGNED DEFAULT LAST_INSERT_ID();
  IF TIMESTAMPDIFF(SECOND, NOW(6), SYSDATE(6)) <> 0 AND USER() <> '' THEN
    -- The session's clock was set (SET timestamp), or its statement takes long. A replica, whose
    -- USER() is empty, has the source's time. A variable, for binary logs of statements.
    BEGIN
      DECLARE clock DATETIME(6) DEFAULT SYSDATE(6);
      INSERT INTO rowcall.outbox (subject, payload, headers, created_at)
        VALUES (LEFT(subject, 4096), payload, headers, clock);
    END;
  ELSE
    INSERT INTO rowcall.outbox (subject, payload, headers) VALUES (LEFT(subject, 4096), payload, headers);
  END IF;
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

REPLACE INTO rowcall.edition (only, number) VALUES (1, 3);
