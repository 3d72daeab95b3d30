//! Records for the runner: one flat JSON object on each line. All names are our own, so nothing needs escaping.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::Failure;

/// A JSON object that is being written.
pub struct Record(String);

impl Record {
    /// Begins a record of this kind.
    pub fn new(kind: &str) -> Record {
        Record(format!("{{\"record\": \"{kind}\""))
    }

    /// Adds a number.
    pub fn number(mut self, name: &str, value: u64) -> Record {
        // Writing to a String cannot fail.
        let _ = write!(self.0, ", \"{name}\": {value}");
        self
    }

    /// Prints the record as a line, at once.
    ///
    /// # Errors
    /// When the reader is gone.
    pub fn print(self) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}}}", self.0)?;
        Ok(out.flush()?)
    }
}
