//! Several statements as one.

use rowcall_mysql::{Connection, Error};

/// All of these statements or none. A single one needs no transaction around it.
pub(super) fn all_at_once(connection: &mut Connection, statements: &[String]) -> Result<(), Error> {
    let run =
        |connection: &mut Connection| statements.iter().try_for_each(|sql| connection.query(sql).map(drop));
    if statements.len() > 1 { in_transaction(connection, run) } else { run(connection) }
}

/// All of it or nothing.
pub(super) fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    connection.query("START TRANSACTION")?;
    match work(connection).and_then(|done| connection.query("COMMIT").map(|_| done)) {
        Ok(done) => Ok(done),
        Err(error) => {
            // Where the connection is gone, the server does it.
            let _ = connection.query("ROLLBACK");
            Err(error)
        }
    }
}
