//! SIGTERM: clients are told, what has arrived is done, what is owed is written, in bounded time.
