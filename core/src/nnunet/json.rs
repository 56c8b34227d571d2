//! JSON files, read so that every complaint names the file and the entry.

use super::error::NnUnetError;
use crate::onnx::foreign::kind_of;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
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

/// Parses a JSON text as Python does; `path` only names it in errors.
///
/// Python writes and reads three numbers that JSON does not have. They become the texts `NaN`, `Infinity` and
/// `-Infinity`: an entry that nobody asks for does no harm, and one that should be a number is named with its value.
pub(super) fn parse<T: for<'de> Deserialize<'de>>(text: &str, path: &Path) -> Result<T, NnUnetError> {
    serde_json::from_str(&quote_python_numbers(text)).map_err(|source| {
        let path = path.to_path_buf();
        // What starts as JSON is broken JSON.
        match kind_of(text.as_bytes()).filter(|_| !text.trim_start().starts_with('{')) {
            Some(kind) => NnUnetError::Unsupported { path, what: format!("it is {kind}") },
            None => NnUnetError::Json { path, source },
        }
    })
}

/// The text with quotes around Python's own numbers, wherever they are outside of texts.
fn quote_python_numbers(text: &str) -> Cow<'_, str> {
    const LITERALS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !LITERALS.iter().any(|literal| text.contains(literal)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    let (mut copied, mut at, mut in_text) = (0, 0, false);
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => in_text = !in_text,
            // An escape; whatever it stands for, it does not end the text.
            b'\\' if in_text => at += 1,
            b'-' | b'I' | b'N' if !in_text => {
                if let Some(literal) = LITERALS.iter().find(|literal| bytes[at..].starts_with(literal.as_bytes())) {
                    out.push_str(&text[copied..at]);
                    out.extend(["\"", *literal, "\""]);
                    copied = at + literal.len();
                    at = copied - 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// A JSON object in the order of the file, or a list under its indices. `serde_json`'s own map sorts its keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ordered(pub(super) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ordered, A::Error> {
                let mut entries = Vec::new();
                while let Some(value) = list.next_element()? {
                    entries.push((entries.len().to_string(), value));
                }
                Ok(Ordered(entries))
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
        // Whatever is there: the visitor takes both.
        deserializer.deserialize_any(InOrder)
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
    fn python_numbers_are_read_where_nobody_asks_for_them() {
        let text = "{\"a\": [NaN, -Infinity,Infinity], \"b\\\"NaN\": \"NaN \\\\\", \"c\": -1}";
        let value: Value = parse(text, Path::new("plans.json")).unwrap();
        assert_eq!(value["a"], serde_json::json!(["NaN", "-Infinity", "Infinity"]));
        assert_eq!((&value["b\"NaN"], &value["c"]), (&"NaN \\".into(), &(-1).into()));
        for literal in ["NaN", "Infinity", "-Infinity"] {
            let value: Value = parse(&format!("{{\"std\": {literal}}}"), Path::new("plans.json")).unwrap();
            let field = Field::new(Path::new("plans.json"), "", &value);
            let error = field.require("std").unwrap().number().unwrap_err().to_string();
            assert_eq!(error, format!("plans.json: `std` should be a number, but is \"{literal}\""));
        }
        for broken in ["{\"a\": NaNNaN}", "{\"a\": Inf}", "{\"NaN\": tru}", "[-]", "\"NaN", "{\"a\\"] {
            assert!(
                matches!(parse::<Value>(broken, Path::new("plans.json")), Err(NnUnetError::Json { .. })),
                "{broken}"
            );
        }
    }
}
