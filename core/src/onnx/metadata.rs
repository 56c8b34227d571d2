//! The manifest of a model: inside the ONNX file, beside it, and checked against the graph.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::{GraphProto, StringStringEntryProto, ValueInfoProto, type_proto};

use super::error::OnnxError;
use super::model::OnnxModel;
use crate::manifest::{FORMAT_VERSION, Manifest};

/// The entry of `metadata_props` that holds the manifest.
const KEY: &str = "scanside";
/// Longest side-car read; a manifest with thousands of labels stays far below.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;

impl OnnxModel {
    /// The manifest inside the model, if there is one.
    ///
    /// # Errors
    /// The manifest cannot be read, needs a newer version of this program, or was written for another graph.
    pub fn manifest(&self) -> Result<Option<Manifest>, OnnxError> {
        let mut entries = self.proto.metadata_props.iter().filter(|e| e.key == KEY);
        let Some(entry) = entries.next() else {
            return Ok(None);
        };
        if entries.next().is_some() {
            return Err(OnnxError::Manifest("the file holds two manifests".into()));
        }
        let manifest = Manifest::from_json(&entry.value)?;
        if manifest.graph_sha256.as_ref().is_some_and(|h| *h != self.graph_sha256()) {
            return Err(OnnxError::Changed);
        }
        Ok(Some(manifest))
    }

    /// Puts `manifest` into the model's `metadata_props`, with the hash of the graph as it is now. A manifest that was
    /// there is replaced.
    ///
    /// # Errors
    /// The manifest breaks a rule, or disagrees with the graph.
    pub fn set_manifest(&mut self, manifest: &Manifest) -> Result<(), OnnxError> {
        manifest_check(manifest, self.graph()?)?;
        let mut manifest = manifest.clone();
        manifest.graph_sha256 = Some(self.graph_sha256());
        let value = serde_json::to_string(&manifest).map_err(|e| OnnxError::Manifest(e.to_string()))?;
        let entries = &mut self.proto.metadata_props;
        entries.retain(|e| e.key != KEY);
        entries.push(StringStringEntryProto { key: KEY.into(), value });
        Ok(())
    }

    /// A placeholder manifest that fits the graph's shapes: enough to run the model and measure it, useless for real
    /// scans.
    ///
    /// # Errors
    /// The graph does not tell its patch or its channels.
    pub fn neutral_manifest(&self) -> Result<Manifest, OnnxError> {
        let facts = facts_of(self.graph()?);
        if facts.patch_zyx().is_none() || facts.channels.is_none() {
            return Err(OnnxError::ManifestMissing(format!(
                "the axes of its input are free; write the patch (grid.patch_zyx) and the other facts to a manifest, for \
                 example {}",
                facts.example(3)
            )));
        }
        let mut example = facts.example(usize::from(u16::MAX));
        if let Value::Object(root) = &mut example {
            fill(root, &facts);
        }
        Ok(Manifest::from_value(example)?)
    }
}

/// What the graph's inputs and outputs say by themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct GraphFacts {
    two_dimensional: Option<bool>,
    channels: Option<usize>,
    /// One entry per spatial axis; `None` where the size is not fixed.
    patch: Vec<Option<usize>>,
    /// Of each output: its second axis, where fixed.
    heads: Vec<Option<usize>>,
    inputs: usize,
}

pub(crate) fn facts_of(graph: &GraphProto) -> GraphFacts {
    // Old files list their weights among the inputs.
    let inputs: Vec<_> = graph.input.iter().filter(|i| !graph.initializer.iter().any(|t| t.name == i.name)).collect();
    let dims = inputs.first().and_then(|i| dims_of(i)).unwrap_or_default();
    let spatial = matches!(dims.len(), 4 | 5);
    GraphFacts {
        two_dimensional: spatial.then_some(dims.len() == 4),
        channels: if spatial { dims[1] } else { None },
        patch: if spatial { dims[2..].to_vec() } else { Vec::new() },
        heads: graph.output.iter().map(|o| dims_of(o).and_then(|d| d.get(1).copied().flatten())).collect(),
        inputs: inputs.len(),
    }
}

/// Dimensions of an input or output; `None` for those without a fixed positive size.
fn dims_of(info: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
    let Some(type_proto::Value::TensorType(t)) = info.r#type.as_ref()?.value.as_ref() else {
        return None;
    };
    let dims = t.shape.as_ref()?.dim.iter().map(|d| match d.value {
        Some(Dim::DimValue(n)) => usize::try_from(n).ok().filter(|&n| n > 0),
        _ => None,
    });
    Some(dims.collect())
}

impl GraphFacts {
    fn patch_zyx(&self) -> Option<[usize; 3]> {
        match *self.patch {
            [Some(z), Some(y), Some(x)] => Some([z, y, x]),
            [Some(y), Some(x)] => Some([1, y, x]),
            _ => None,
        }
    }

    /// One sentence on what is known, for the error that asks for the rest.
    fn sentence(&self) -> String {
        let mut known = Vec::new();
        if let Some(p) = self.patch_zyx() {
            known.push(format!("the patch is {} x {} x {}", p[0], p[1], p[2]));
        }
        if let Some(c) = self.channels {
            known.push(format!("{c} input channel{}", if c == 1 { "" } else { "s" }));
        }
        if let Some(h) = self.heads.first().copied().flatten() {
            known.push(format!("{h} heads"));
        }
        if known.is_empty() { "nothing".into() } else { known.join(", ") }
    }

    /// A manifest with the fewest facts that would do, for `most` heads at most.
    fn example(&self, most: usize) -> Value {
        let channels: Vec<Value> = (0..self.channels.unwrap_or(1))
            .map(|i| json!({"name": format!("channel {i}"), "normalization": {"kind": "z_score"}}))
            .collect();
        let heads: Vec<Value> = (0..self.heads.first().copied().flatten().unwrap_or(2).min(most))
            .map(|i| json!({"name": if i == 0 { "background".into() } else { format!("label {i}") }, "value": i}))
            .collect();
        let mut grid = json!({"spacing_mm": [1.0, 1.0, 1.0]});
        if self.patch_zyx().is_none() {
            grid["patch_zyx"] = json!([128, 128, 128]);
        }
        json!({"grid": grid, "channels": channels, "labels": {"kind": "exclusive", "heads": heads}})
    }
}

pub(crate) fn missing_everything(path: &Path, facts: &GraphFacts) -> OnnxError {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let patch = if facts.patch_zyx().is_none() { "the patch, " } else { "" };
    OnnxError::ManifestMissing(format!(
        "it has no manifest. Its graph states {}; it does not state {patch}the voxel spacing, the channels' names and \
         normalisation, and the labels. Write them to {stem}.scanside.json beside it, for example {}",
        facts.sentence(),
        facts.example(3)
    ))
}

/// The manifest in a file beside the model. Facts that the graph holds may be left out.
pub(crate) fn manifest_from_side_car(path: &Path, facts: &GraphFacts) -> Result<Manifest, OnnxError> {
    let io = |source| OnnxError::Io { path: path.to_path_buf(), source };
    if std::fs::metadata(path).map_err(io)?.len() > MAX_MANIFEST_BYTES {
        return Err(OnnxError::Manifest(format!("{} is too large to be a manifest", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    let named = |e: String| OnnxError::Manifest(format!("{}: {}", path.display(), e.trim_end()));
    let mut value: Value = match path.extension().and_then(|e| e.to_str()) {
        Some("toml") => toml::from_str(&text).map_err(|e| named(e.to_string()))?,
        Some("json") => serde_json::from_str(&text).map_err(|e| named(e.to_string()))?,
        _ => return Err(named("the name must end in .json or .toml".into())),
    };
    let Some(root) = value.as_object_mut() else {
        return Err(named("it must be a table of facts".into()));
    };
    fill(root, facts);
    let missing = missing(root);
    if !missing.is_empty() {
        return Err(OnnxError::ManifestMissing(format!(
            "{} does not state {}. For example {}",
            path.display(),
            missing.join(", "),
            facts.example(3)
        )));
    }
    Manifest::from_value(value).map_err(|e| named(e.to_string()))
}

fn fill(root: &mut Map<String, Value>, facts: &GraphFacts) {
    root.entry("format").or_insert(json!(FORMAT_VERSION));
    let grid = root.entry("grid").or_insert_with(|| json!({}));
    if let Some(grid) = grid.as_object_mut() {
        if let Some(patch) = facts.patch_zyx() {
            grid.entry("patch_zyx").or_insert(json!(patch));
        }
        if let Some(two) = facts.two_dimensional {
            grid.entry("two_dimensional").or_insert(json!(two));
        }
    }
}

/// Facts that are still open, in the user's words.
fn missing(root: &Map<String, Value>) -> Vec<String> {
    let mut open = Vec::new();
    let grid = root.get("grid");
    for (key, words) in
        [("patch_zyx", "the patch (grid.patch_zyx)"), ("spacing_mm", "the voxel spacing (grid.spacing_mm)")]
    {
        if grid.and_then(|g| g.get(key)).is_none() {
            open.push(words.to_owned());
        }
    }
    match root.get("channels").and_then(Value::as_array) {
        None => open.push("the channels and their normalisation (channels)".into()),
        Some(channels) => {
            for (i, c) in channels.iter().enumerate().filter(|(_, c)| c.get("normalization").is_none()) {
                let name = c.get("name").and_then(Value::as_str).unwrap_or("");
                open.push(format!("the normalisation of channel {i} \"{name}\" (channels[{i}].normalization)"));
            }
        }
    }
    if root.get("labels").and_then(|l| l.get("heads")).is_none() {
        open.push("the labels (labels.heads)".into());
    }
    open
}

/// Checks the manifest's values, and that they agree with the graph's inputs and outputs.
///
/// # Errors
/// All disagreements in one sentence each.
pub(super) fn manifest_check(m: &Manifest, graph: &GraphProto) -> Result<(), OnnxError> {
    check(m, &facts_of(graph))
}

fn check(m: &Manifest, facts: &GraphFacts) -> Result<(), OnnxError> {
    let mut wrong = m.check().err().map(|e| e.to_string()).unwrap_or_default();
    let mut say = |text: String| {
        let _ = write!(wrong, "{}{text}", if wrong.is_empty() { "" } else { "; " });
    };
    let (grid, heads) = (&m.grid, m.labels.heads());
    if facts.inputs != 1 {
        say(format!("the graph has {} inputs, one is needed", facts.inputs));
    }
    if facts.two_dimensional.is_some_and(|two| two != grid.two_dimensional) {
        say(format!("the graph's input has {} spatial axes", facts.patch.len()));
    }
    if facts.channels.is_some_and(|c| c != m.channels.len()) {
        say(format!("the graph takes {} channels, not {}", facts.channels.unwrap_or(0), m.channels.len()));
    }
    let own = &grid.patch_zyx[3 - facts.patch.len().min(3)..];
    if facts.patch.iter().zip(own).any(|(g, p)| g.is_some_and(|g| g != *p)) {
        say(format!("the graph's patch is {:?}, not {own:?}", facts.patch.iter().flatten().collect::<Vec<_>>()));
    }
    if m.folds > facts.heads.len() {
        say(format!("the graph has {} outputs, the manifest {} folds", facts.heads.len(), m.folds));
    }
    for (i, h) in facts.heads.iter().take(m.folds).enumerate().filter_map(|(i, h)| Some((i, (*h)?))) {
        if h != heads.len() {
            say(format!("output {i} of the graph has {h} heads, not {}", heads.len()));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(OnnxError::Manifest(wrong)) }
}
