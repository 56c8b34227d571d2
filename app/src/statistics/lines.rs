//! Tables as lines of text: what a file begins and ends with, and which lines are whose.

use super::measure::LabelStatistics;
use serde::Serialize;
use serde_json::Value;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One line for each label of a case.
    Csv,
    /// One line for each case, in a document that is whole whenever nobody is writing.
    Json,
}

/// The columns of a table of comma-separated values.
const COLUMNS: &str =
    "case,label,name,voxels,ml,intensity_mean,intensity_sd,centroid_l_mm,centroid_p_mm,centroid_s_mm,touches_edge";

impl Layout {
    /// The first line, without its end.
    pub(super) fn head(self) -> &'static str {
        match self {
            Layout::Csv => COLUMNS,
            Layout::Json => r#"{"format":1,"coordinates":"mm, LPS","cases":["#,
        }
    }

    /// What follows the last line of the last case.
    pub(super) fn tail(self) -> &'static str {
        match self {
            Layout::Csv => "",
            Layout::Json => "]}\n",
        }
    }

    /// What separates the lines of two cases.
    pub(super) fn between(self) -> &'static str {
        match self {
            Layout::Csv => "\n",
            Layout::Json => ",\n",
        }
    }

    /// What all lines of a case begin with, and no line of another case.
    pub(super) fn mark(self, case: &str) -> String {
        match self {
            Layout::Csv => format!("{},", field(case)),
            Layout::Json => format!("{{\"case\":{},", Value::from(case)),
        }
    }

    /// The lines of a case, without the end of the last one.
    ///
    /// # Errors
    /// A number cannot be written as JSON.
    pub(super) fn lines(
        self,
        case: &str,
        channels: &[String],
        labels: &[LabelStatistics],
    ) -> Result<String, serde_json::Error> {
        let mark = self.mark(case);
        match self {
            Layout::Csv => Ok(labels.iter().map(|label| mark.clone() + &row(label)).collect::<Vec<_>>().join("\n")),
            Layout::Json => {
                let labels: Vec<Document<'_>> = labels.iter().map(|label| Document::new(label, channels)).collect();
                Ok(format!("{mark}\"labels\":{}}}", serde_json::to_string(&labels)?))
            }
        }
    }
}

/// A field of comma-separated values. Control characters are written as escapes, so that a line is a line.
fn field(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let text: String = text.chars().map(escape).collect();
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn row(label: &LabelStatistics) -> String {
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let intensity = label.intensity.first();
    let centre = |axis: usize| number(label.centroid_lps_mm.map(|mm| mm[axis]));
    let fields = [
        label.value.to_string(),
        field(&label.name),
        label.voxels.to_string(),
        label.ml.to_string(),
        number(intensity.map(|i| i.mean)),
        number(intensity.map(|i| i.sd)),
        centre(0),
        centre(1),
        centre(2),
        label.touches_edge.to_string(),
    ];
    fields.join(",")
}

/// A label in a JSON document.
#[derive(Serialize)]
struct Document<'a> {
    label: u16,
    name: &'a str,
    voxels: u64,
    ml: f64,
    intensity: Vec<ChannelDocument<'a>>,
    centroid_lps_mm: Option<[f64; 3]>,
    touches_edge: bool,
}

/// Intensities of one channel.
#[derive(Serialize)]
struct ChannelDocument<'a> {
    channel: &'a str,
    mean: f64,
    sd: f64,
}

impl<'a> Document<'a> {
    fn new(label: &'a LabelStatistics, channels: &'a [String]) -> Self {
        let intensity = label.intensity.iter().zip(channels);
        Document {
            label: label.value,
            name: &label.name,
            voxels: label.voxels,
            ml: label.ml,
            intensity: intensity.map(|(i, channel)| ChannelDocument { channel, mean: i.mean, sd: i.sd }).collect(),
            centroid_lps_mm: label.centroid_lps_mm,
            touches_edge: label.touches_edge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::Intensity;
    use super::*;
    use serde_json::json;

    fn label() -> LabelStatistics {
        LabelStatistics {
            value: 2,
            name: "left, \"upper\"".into(),
            voxels: 3,
            ml: 0.0045,
            intensity: vec![Intensity { mean: 12.5, sd: 0.25 }, Intensity { mean: 1.0, sd: 0.0 }],
            centroid_lps_mm: Some([-1.5, 2.0, 0.0]),
            touches_edge: true,
        }
    }

    #[test]
    fn a_row_has_all_columns_and_stays_one_line() {
        let lines = Layout::Csv.lines("a\nb", &[], &[label(), LabelStatistics { voxels: 0, ..label() }]).unwrap();
        let first = lines.lines().next().unwrap();
        assert_eq!(first, r#"a\nb,2,"left, ""upper""",3,0.0045,12.5,0.25,-1.5,2,0,true"#);
        assert_eq!(lines.lines().count(), 2);
        assert!(lines.lines().all(|line| line.starts_with(&Layout::Csv.mark("a\nb"))));
    }

    #[test]
    fn an_absent_label_has_no_intensity_and_no_place() {
        let absent = LabelStatistics {
            voxels: 0,
            ml: 0.0,
            intensity: Vec::new(),
            centroid_lps_mm: None,
            touches_edge: false,
            ..label()
        };
        assert!(Layout::Csv.lines("a", &[], std::slice::from_ref(&absent)).unwrap().ends_with(",0,0,,,,,,false"));
        let json: Value = serde_json::from_str(&Layout::Json.lines("a", &["CT".into()], &[absent]).unwrap()).unwrap();
        assert!(json["labels"][0]["centroid_lps_mm"].is_null());
        assert_eq!(json["labels"][0]["intensity"], json!([]));
    }

    #[test]
    fn json_names_each_channel() {
        let json: Value =
            serde_json::from_str(&Layout::Json.lines("a\"b", &["T1".into(), "T2".into()], &[label()]).unwrap())
                .unwrap();
        assert_eq!(json["case"], "a\"b");
        assert_eq!(json["labels"][0]["intensity"][1], json!({"channel": "T2", "mean": 1.0, "sd": 0.0}));
        assert_eq!(json["labels"][0]["centroid_lps_mm"], json!([-1.5, 2.0, 0.0]));
    }
}
