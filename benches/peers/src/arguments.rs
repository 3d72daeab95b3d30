//! The `--name value` arguments of both programs. Must never guess: an unknown, repeated or unread name is an error.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::Failure;

/// The arguments that have not been taken yet.
pub struct Arguments(BTreeMap<String, String>);

impl Arguments {
    /// Reads `--name value` pairs.
    ///
    /// # Errors
    /// A word without `--`, a name without a value, or a name given twice.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Arguments, Failure> {
        let mut table = BTreeMap::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("{word}: expected --name"))?;
            let value = words.next().ok_or_else(|| format!("{word}: expected a value"))?;
            if table.insert(name.to_owned(), value).is_some() {
                return Err(format!("{word}: given twice").into());
            }
        }
        Ok(Arguments(table))
    }

    /// Takes a required argument.
    ///
    /// # Errors
    /// It is missing, or its value has the wrong type.
    pub fn take<T: FromStr>(&mut self, name: &str) -> Result<T, Failure> {
        let value = self.0.remove(name).ok_or_else(|| format!("--{name} is missing"))?;
        value.parse().map_err(|_| format!("--{name} {value}: not understood").into())
    }

    /// Takes an optional argument.
    ///
    /// # Errors
    /// Its value has the wrong type.
    pub fn take_or<T: FromStr>(&mut self, name: &str, default: T) -> Result<T, Failure> {
        if self.0.contains_key(name) { self.take(name) } else { Ok(default) }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// An argument that was not taken.
    pub fn finish(self) -> Result<(), Failure> {
        match self.0.into_keys().next() {
            Some(name) => Err(format!("--{name}: no such argument").into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, Failure> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_taken_by_name_and_none_may_be_left() {
        let mut arguments = parse("--links 200 --mode ping").expect("valid");
        assert_eq!(arguments.take::<u32>("links").ok(), Some(200));
        assert_eq!(arguments.take_or("seconds", 3).ok(), Some(3));
        let left = arguments.finish().expect_err("mode was not taken");
        assert_eq!(left.to_string(), "--mode: no such argument");
        for bad in ["links 200", "--links", "--links 1 --links 2"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
