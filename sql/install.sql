-- Makes the functions of Rowcall known to a server in whose plugin directory (@@plugin_dir) the
-- library already is. `rowcall install` does both, and only what is missing.
--
-- The statements are not written to the binary log: a replica without the library would stop.
-- While a function is away, a trigger that calls it fails, unless it calls it as the examples do.
--
-- MySQL forgets a function, but for its row in mysql.func, when a statement ends that used the one of
-- this name which was dropped before it. `rowcall install` waits for such statements. By hand, run this
-- again once they have ended: the DELETEs take away rows that DROP no longer finds a function for.

SET SESSION sql_log_bin = 0;

DROP FUNCTION IF EXISTS rowcall_notify;
DELETE FROM mysql.func WHERE name = 'rowcall_notify';
CREATE FUNCTION rowcall_notify RETURNS INTEGER SONAME 'rowcall_0_1_0.so';

DROP FUNCTION IF EXISTS rowcall_emit;
DELETE FROM mysql.func WHERE name = 'rowcall_emit';
CREATE FUNCTION rowcall_emit RETURNS INTEGER SONAME 'rowcall_0_1_0.so';

DROP FUNCTION IF EXISTS rowcall_request;
DELETE FROM mysql.func WHERE name = 'rowcall_request';
CREATE FUNCTION rowcall_request RETURNS STRING SONAME 'rowcall_0_1_0.so';

DROP FUNCTION IF EXISTS rowcall_submit;
DELETE FROM mysql.func WHERE name = 'rowcall_submit';
CREATE FUNCTION rowcall_submit RETURNS STRING SONAME 'rowcall_0_1_0.so';

DROP FUNCTION IF EXISTS rowcall_result;
DELETE FROM mysql.func WHERE name = 'rowcall_result';
CREATE FUNCTION rowcall_result RETURNS STRING SONAME 'rowcall_0_1_0.so';

DROP FUNCTION IF EXISTS rowcall_wait;
DELETE FROM mysql.func WHERE name = 'rowcall_wait';
CREATE FUNCTION rowcall_wait RETURNS STRING SONAME 'rowcall_0_1_0.so';

DROP FUNCTION IF EXISTS rowcall_poke;
DELETE FROM mysql.func WHERE name = 'rowcall_poke';
CREATE FUNCTION rowcall_poke RETURNS INTEGER SONAME 'rowcall_0_1_0.so';

DROP FUNCTION IF EXISTS rowcall_last_error;
DELETE FROM mysql.func WHERE name = 'rowcall_last_error';
CREATE FUNCTION rowcall_last_error RETURNS STRING SONAME 'rowcall_0_1_0.so';

DROP FUNCTION IF EXISTS rowcall_status;
DELETE FROM mysql.func WHERE name = 'rowcall_status';
CREATE FUNCTION rowcall_status RETURNS STRING SONAME 'rowcall_0_1_0.so';

DROP FUNCTION IF EXISTS rowcall_version;
DELETE FROM mysql.func WHERE name = 'rowcall_version';
CREATE FUNCTION rowcall_version RETURNS STRING SONAME 'rowcall_0_1_0.so';
