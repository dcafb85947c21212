//! Values in and out of SQL, the same on every database client.

use bytes::Bytes;

/// One SQLite value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL.
    Real(f64),
    /// TEXT.
    Text(String),
    /// BLOB.
    Blob(Bytes),
}

/// The rows one statement yielded.
pub type Rows = Vec<Row>;

/// One row, by column position.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub Vec<Value>);

/// A column did not hold what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column} does not hold {expected}")]
pub struct ValueError {
    /// Position, from 0.
    pub column: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl Row {
    /// The INTEGER in a column.
    ///
    /// # Errors
    /// When the column holds something else; so for all getters.
    pub fn integer(&self, column: usize) -> Result<i64, ValueError> {
        match self.0.get(column) {
            Some(Value::Integer(number)) => Ok(*number),
            _ => Err(ValueError {
                column,
                expected: "an integer",
            }),
        }
    }

    /// The non-negative INTEGER in a column.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn unsigned(&self, column: usize) -> Result<u64, ValueError> {
        u64::try_from(self.integer(column)?).map_err(|_| ValueError {
            column,
            expected: "a non-negative integer",
        })
    }

    /// The TEXT in a column.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn text(&self, column: usize) -> Result<&str, ValueError> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(ValueError {
                column,
                expected: "text",
            }),
        }
    }

    /// The BLOB in a column.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn blob(&self, column: usize) -> Result<Bytes, ValueError> {
        match self.0.get(column) {
            Some(Value::Blob(bytes)) => Ok(bytes.clone()),
            _ => Err(ValueError {
                column,
                expected: "a blob",
            }),
        }
    }

    /// The INTEGER in a column, or nothing for NULL.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn optional_integer(&self, column: usize) -> Result<Option<i64>, ValueError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.integer(column).map(Some),
        }
    }

    /// The TEXT in a column, or nothing for NULL.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn optional_text(&self, column: usize) -> Result<Option<&str>, ValueError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.text(column).map(Some),
        }
    }

    /// The TEXT in a column, parsed: an id, JSON's scalar names, anything with `FromStr`.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn parse<T: std::str::FromStr>(&self, column: usize) -> Result<T, ValueError> {
        self.text(column)?.parse().map_err(|_| ValueError {
            column,
            expected: std::any::type_name::<T>(),
        })
    }

    /// The JSON in a TEXT column.
    ///
    /// # Errors
    /// When the column holds something else.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: usize) -> Result<T, ValueError> {
        serde_json::from_str(self.text(column)?).map_err(|_| ValueError {
            column,
            expected: std::any::type_name::<T>(),
        })
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u64> for Value {
    /// Numbers past `i64::MAX` don't occur in counters; they are held at it.
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Integer(truth.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Blob(bytes)
    }
}

impl From<roost_shared::UnixMillis> for Value {
    fn from(moment: roost_shared::UnixMillis) -> Self {
        Self::Integer(moment.0)
    }
}

impl From<roost_shared::MicroUsd> for Value {
    fn from(amount: roost_shared::MicroUsd) -> Self {
        Self::Integer(amount.0)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! text_values {
    ($($name:ident)*) => {$(
        impl From<roost_shared::$name> for Value {
            fn from(id: roost_shared::$name) -> Self {
                Self::Text(id.to_string())
            }
        }
    )*};
}

text_values! { AgentId ConversationId DeliveryId EffectId IntegrationId PollId PresenceId ProcessId RunId SignalId SubscriptionId TokenId WorkItemId }
