-- Takes the functions of Rowcall away from a server. `rowcall uninstall` does this, and removes the
-- library from the plugin directory. Triggers that call the functions fail afterwards, unless they
-- call them as the examples do: drop them first.

SET SESSION sql_log_bin = 0;

DROP FUNCTION IF EXISTS rowcall_notify;
DROP FUNCTION IF EXISTS rowcall_emit;
DROP FUNCTION IF EXISTS rowcall_request;
DROP FUNCTION IF EXISTS rowcall_submit;
DROP FUNCTION IF EXISTS rowcall_result;
DROP FUNCTION IF EXISTS rowcall_wait;
DROP FUNCTION IF EXISTS rowcall_poke;
DROP FUNCTION IF EXISTS rowcall_last_error;
DROP FUNCTION IF EXISTS rowcall_status;
DROP FUNCTION IF EXISTS rowcall_version;
