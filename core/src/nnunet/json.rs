//! JSON files, read so that every complaint names the file and the entry.

use super::error::NnUnetError;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

/// Most bytes of a JSON file. Plans of many configurations and channels have some hundred kB.
const MAX_BYTES: u64 = 64 << 20;

/// Reads and parses a JSON file.
pub(super) fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, NnUnetError> {
    let io = |source| NnUnetError::Io { path: path.to_path_buf(), source };
    let mut text = String::new();
    File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_BYTES {
        let what = format!("the file has more than {MAX_BYTES} bytes");
        return Err(NnUnetError::Unsupported { path: path.to_path_buf(), what });
    }
    parse(&text, path)
}

/// Parses a JSON text; `path` only names it in errors.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(text: &str, path: &Path) -> Result<T, NnUnetError> {
    serde_json::from_str(text).map_err(|source| match python_literal(text, &source) {
        Some(literal) => NnUnetError::NotFinite { path: path.to_path_buf(), literal, line: source.line() },
        None => NnUnetError::Json { path: path.to_path_buf(), source },
    })
}

/// The number that only Python's JSON has, if that is what the parser stopped at.
fn python_literal(text: &str, error: &serde_json::Error) -> Option<&'static str> {
    let line = text.lines().nth(error.line().checked_sub(1)?)?;
    // The column is that of the last byte the parser took, which can lie a few bytes into the literal.
    let column = error.column();
    ["-Infinity", "Infinity", "NaN"]
        .into_iter()
        .find(|literal| line.match_indices(literal).any(|(at, _)| (at..=at + literal.len()).contains(&column)))
}

/// A JSON object in the order of the file. `serde_json`'s own map sorts its keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ordered(pub(super) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut entries: Vec<(String, Value)> = Vec::new();
                let mut places = HashMap::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    // A repeated key keeps its first place and takes the last value, as in Python.
                    let next = entries.len();
                    match *places.entry(key.clone()).or_insert(next) {
                        place if place < next => entries[place].1 = value,
                        _ => entries.push((key, value)),
                    }
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// A value of a JSON file together with its place.
#[derive(Clone)]
pub(super) struct Field<'a> {
    file: &'a Path,
    place: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    pub(super) fn new(file: &'a Path, place: &str, value: &'a Value) -> Self {
        Field { file, place: place.to_string(), value }
    }

    fn at(&self, key: &dyn fmt::Display, value: &'a Value) -> Field<'a> {
        let place = if self.place.is_empty() { key.to_string() } else { format!("{}.{key}", self.place) };
        Field { file: self.file, place, value }
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    pub(super) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    /// An error about this entry: `problem` continues the sentence after the entry's name.
    pub(super) fn wrong(&self, problem: impl Into<String>) -> NnUnetError {
        let field = if self.place.is_empty() { "(the whole file)".to_string() } else { self.place.clone() };
        NnUnetError::Field { path: self.file.to_path_buf(), field, problem: problem.into() }
    }

    /// A refusal: what the file asks for is sound, but not supported.
    pub(super) fn unsupported(&self, what: impl Into<String>) -> NnUnetError {
        NnUnetError::Unsupported { path: self.file.to_path_buf(), what: what.into() }
    }

    fn expected(&self, what: &str) -> NnUnetError {
        let shown = self.value.to_string();
        let short: String = shown.chars().take(60).collect();
        let dots = if short.len() < shown.len() { " ..." } else { "" };
        self.wrong(format!("should be {what}, but is {short}{dots}"))
    }

    pub(super) fn object(&self) -> Result<&'a Map<String, Value>, NnUnetError> {
        self.value.as_object().ok_or_else(|| self.expected("an object"))
    }

    /// The entry under `key`; `None` where it is missing.
    pub(super) fn get(&self, key: &str) -> Result<Option<Field<'a>>, NnUnetError> {
        Ok(self.object()?.get(key).map(|value| self.at(&key, value)))
    }

    /// The entry under `key`; `None` where it is missing or null.
    pub(super) fn get_set(&self, key: &str) -> Result<Option<Field<'a>>, NnUnetError> {
        Ok(self.get(key)?.filter(|field| !field.is_null()))
    }

    pub(super) fn require(&self, key: &str) -> Result<Field<'a>, NnUnetError> {
        self.get(key)?.ok_or_else(|| self.at(&key, self.value).wrong("is missing"))
    }

    /// All entries of an object.
    pub(super) fn entries(&self) -> Result<Vec<(&'a str, Field<'a>)>, NnUnetError> {
        Ok(self.object()?.iter().map(|(key, value)| (key.as_str(), self.at(key, value))).collect())
    }

    /// All items of a list.
    pub(super) fn items(&self) -> Result<Vec<Field<'a>>, NnUnetError> {
        let items = self.value.as_array().ok_or_else(|| self.expected("a list"))?;
        Ok(items.iter().enumerate().map(|(i, value)| self.at(&i, value)).collect())
    }

    pub(super) fn text(&self) -> Result<&'a str, NnUnetError> {
        self.value.as_str().ok_or_else(|| self.expected("a text"))
    }

    pub(super) fn truth(&self) -> Result<bool, NnUnetError> {
        self.value.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    /// A truth value, or nothing.
    pub(super) fn truth_or_null(&self) -> Result<Option<bool>, NnUnetError> {
        if self.is_null() { Ok(None) } else { self.truth().map(Some) }
    }

    pub(super) fn number(&self) -> Result<f64, NnUnetError> {
        self.value.as_f64().filter(|n| n.is_finite()).ok_or_else(|| self.expected("a number"))
    }

    /// A whole number in a range. Python writes some of them with a decimal point.
    pub(super) fn whole(&self, range: RangeInclusive<usize>) -> Result<usize, NnUnetError> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let number = self
            .value
            .as_u64()
            .or_else(|| self.value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..EXACT).contains(n)).map(|n| n as u64));
        number
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| range.contains(n))
            .ok_or_else(|| self.expected(&format!("a whole number from {} to {}", range.start(), range.end())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_of_the_file() {
        let ordered: Ordered = parse(r#"{"z": 1, "a": 2, "z": 3}"#, Path::new("x.json")).unwrap();
        assert_eq!(ordered.0, [("z".to_string(), 3.into()), ("a".to_string(), 2.into())]);
    }

    #[test]
    fn python_numbers_are_named() {
        for literal in ["NaN", "Infinity", "-Infinity"] {
            let text = format!("{{\n \"std\": {literal},\n \"mean\": 1}}");
            let error = parse::<Value>(&text, Path::new("plans.json")).unwrap_err().to_string();
            assert!(error.contains(&format!("{literal} on line 2")), "{error}");
        }
        let error = parse::<Value>("{\"NaN\": tru}", Path::new("plans.json")).unwrap_err().to_string();
        assert!(error.contains("not valid JSON"), "{error}");
    }
}
