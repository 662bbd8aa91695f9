//! The answer to a statement: rows, and numbers.

/// One row: a value for each column, `None` for NULL.
pub type Row = Vec<Option<Vec<u8>>>;

/// What a statement did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The rows of its first result set, if it had one.
    pub rows: Vec<Row>,
    /// How many rows it changed.
    pub affected: u64,
    /// The value of AUTO_INCREMENT that it used first.
    pub insert_id: u64,
}

impl Outcome {
    /// The first column of the first row, as text; `None` without rows, or for NULL.
    pub fn first(&self) -> Option<String> {
        let value = self.rows.first()?.first()?.as_ref()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}
