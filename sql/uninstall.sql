-- Takes the functions of Rowcall away from a server. `rowcall uninstall` does this, and removes the
-- library from the plugin directory. Triggers that call the functions fail afterwards, unless they
-- call them as the examples do: drop them first. Before functions are installed anew on MySQL, let the
-- statements end that use those (see install.sql).

SET SESSION sql_log_bin = 0;

DROP FUNCTION IF EXISTS rowcall_notify;
DELETE FROM mysql.func WHERE name = 'rowcall_notify';
DROP FUNCTION IF EXISTS rowcall_emit;
DELETE FROM mysql.func WHERE name = 'rowcall_emit';
DROP FUNCTION IF EXISTS rowcall_request;
DELETE FROM mysql.func WHERE name = 'rowcall_request';
DROP FUNCTION IF EXISTS rowcall_submit;
DELETE FROM mysql.func WHERE name = 'rowcall_submit';
DROP FUNCTION IF EXISTS rowcall_result;
DELETE FROM mysql.func WHERE name = 'rowcall_result';
DROP FUNCTION IF EXISTS rowcall_wait;
DELETE FROM mysql.func WHERE name = 'rowcall_wait';
DROP FUNCTION IF EXISTS rowcall_poke;
DELETE FROM mysql.func WHERE name = 'rowcall_poke';
DROP FUNCTION IF EXISTS rowcall_last_error;
DELETE FROM mysql.func WHERE name = 'rowcall_last_error';
DROP FUNCTION IF EXISTS rowcall_status;
DELETE FROM mysql.func WHERE name = 'rowcall_status';
DROP FUNCTION IF EXISTS rowcall_version;
DELETE FROM mysql.func WHERE name = 'rowcall_version';
