//! Numbers that nobody guesses and nobody draws twice, from the system's generator.

use crate::failure::Failure;

/// 64 random bits.
pub(crate) fn number() -> Result<u64, Failure> {
    getrandom::u64().map_err(|error| Failure::other(format!("the system gives no random bytes: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_numbers_are_alike() {
        assert_ne!(number().unwrap(), number().unwrap());
    }
}
