//! How much of a table is read at a time. No connection lives here; what is read stands in reader.rs and
//! ledger.rs.

/// Rows in one read. Larger reads were not faster.
pub(super) const ROWS_MAX: usize = 1000;

/// Bytes in one read at most, after which the rest is left for the next; one row may be larger.
pub(super) const BYTES_MAX: usize = 4 << 20;

/// How many rows to read next: fewer while they are large, as what does not fit is sent in vain.
#[derive(Clone, Copy)]
pub(super) struct Portion(usize);

impl Default for Portion {
    fn default() -> Self {
        Portion(ROWS_MAX)
    }
}

impl Portion {
    pub(super) fn rows(self) -> usize {
        self.0
    }

    /// The next one, after so many rows were taken of this one and all of it fitted, or not.
    pub(super) fn after(self, taken: usize, fitted: bool) -> Portion {
        Portion(if fitted { (2 * self.0).min(ROWS_MAX) } else { taken })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_rows_are_read_in_smaller_portions_until_they_fit() {
        let portion = Portion::default().after(7, false);
        assert_eq!((portion.rows(), portion.after(7, true).rows()), (7, 14));
        assert_eq!(Portion::default().after(ROWS_MAX, true).rows(), ROWS_MAX);
    }
}
